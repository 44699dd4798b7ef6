#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanfare::internals::broker::fuzz_ops(data));
