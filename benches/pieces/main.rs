//! Every piece that a message meets on its way, by itself: its time with criterion, and its instructions with
//! valgrind.
//!
//! `cargo bench --bench pieces` takes the time. `cargo bench --bench pieces -- --instructions` counts instructions and
//! fails when a piece takes over 5 % more than `budgets.txt` allows it; with `--write`, what was counted becomes the
//! budget.

#![allow(clippy::print_stdout, reason = "a bench talks to a terminal")]

mod codec;
mod connections;
mod instructions;
mod publishing;
mod reading;

use std::process::ExitCode;

use criterion::{Criterion, Throughput};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Does it once, or as often as the piece says.
type Operation = Box<dyn FnMut()>;

/// Something small enough to be measured alone.
struct Piece {
    name: &'static str,
    /// How many are done in one call.
    each: u32,
    /// Makes what it needs, and checks once that it does what it should.
    prepare: fn() -> Operation,
}

fn pieces() -> Vec<&'static Piece> {
    [codec::PIECES, publishing::PIECES, reading::PIECES, connections::PIECES].into_iter().flatten().collect()
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if let Some(at) = args.iter().position(|arg| *arg == instructions::ALONE) {
        return instructions::alone(&args[at + 1..]);
    }
    if args.contains(&"--instructions") {
        return instructions::check(args.contains(&"--write"));
    }
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("pieces");
    for piece in pieces() {
        let mut operation = (piece.prepare)();
        group.throughput(Throughput::Elements(piece.each.into()));
        group.bench_function(piece.name, |bencher| bencher.iter(&mut operation));
    }
    group.finish();
    criterion.final_summary();
    ExitCode::SUCCESS
}
