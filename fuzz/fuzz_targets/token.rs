#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanfare::auth::fuzz::fuzz_token(data));
