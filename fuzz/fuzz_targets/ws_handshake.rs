#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanfare::ws::fuzz::ws_handshake(data));
