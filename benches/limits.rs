//! What limits cost: time for each command of a connection that is not exempt, memory for each address.

#![allow(clippy::print_stdout, reason = "a bench talks to a terminal")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{Criterion, criterion_group, criterion_main};
use fanfare::Rate;
use fanfare::internals::limits::{attempts, publishes};

/// Nobody reaches it: what is measured is the way of commands that pass.
const ENDLESS: Rate = Rate::new(1_000_000_000, 1_000_000_000);

fn address(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(0x2000_0000 + number))
}

/// A publish meets all there is: bytes, commands and publishes of the connection and of its address, and its
/// topic's rate. The bound for it, with what may be published, is 250 ns.
fn per_command(criterion: &mut Criterion) {
    let mut publish = publishes(address(0), ENDLESS);
    assert!(publish(128, "prices.btc"));
    criterion.bench_function("limits/publish", |bencher| {
        bencher.iter(|| assert!(publish(black_box(128), black_box("prices.btc"))));
    });
    let mut publish = publishes(address(0), Rate::new(1, 1));
    assert!(publish(1, "prices.btc") && !publish(1, "prices.btc"));
    criterion.bench_function("limits/publish refused", |bencher| {
        bencher.iter(|| publish(black_box(128), black_box("prices.btc")));
    });
}

fn per_attempt(criterion: &mut Criterion) {
    let mut attempt = attempts();
    let mut number = 0;
    criterion.bench_function("limits/attempt of a new address", |bencher| {
        bencher.iter(|| {
            number += 1;
            attempt(address(number))
        });
    });
    criterion.bench_function("limits/attempt of a known address", |bencher| bencher.iter(|| attempt(address(0))));
}

/// As many addresses as have meters of their own, and then a million.
fn memory(_: &mut Criterion) {
    const METERS: u32 = 65_536;
    let mut attempt = attempts();
    let empty = resident();
    for number in 0..METERS {
        assert!(attempt(address(number)));
    }
    let full = resident() - empty;
    println!("limits/memory: {} bytes for each of {METERS} addresses", full / u64::from(METERS));
    for number in METERS..1_000_000 {
        attempt(address(number));
    }
    let grown = resident() - empty;
    println!("limits/memory: {} KiB after a million addresses", grown / 1024);
    assert!(grown <= 32 * 1024 * 1024, "{grown} bytes");
}

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

// Memory first: what is freed before would be used again.
criterion_group!(benches, memory, per_command, per_attempt);
criterion_main!(benches);
