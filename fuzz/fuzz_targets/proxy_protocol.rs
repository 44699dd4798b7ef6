#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanfare::internals::limits::proxy_protocol(data));
