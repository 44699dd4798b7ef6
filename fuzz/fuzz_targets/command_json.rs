#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanfare::internals::protocol::fuzz::fuzz_command_json(data));
