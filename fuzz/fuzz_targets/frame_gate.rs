#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanfare::ws::fuzz::frame_gate(data));
