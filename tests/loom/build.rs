//! Turns loom on for this package only, and takes one ordering or step away if `FANFARE_MUTATE` names it.

use std::env;

fn main() {
    println!("cargo::rerun-if-env-changed=FANFARE_MUTATE");
    println!("cargo::rustc-cfg=loom");
    if let Ok(mutation) = env::var("FANFARE_MUTATE") {
        println!("cargo::rustc-cfg=mutate=\"{mutation}\"");
    }
}
