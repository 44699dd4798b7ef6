//! Counts the instructions of each piece with valgrind, and holds them against their budgets.
//!
//! One process runs all pieces under callgrind, which counts only inside [`counted`] and writes a profile after each
//! call of it: `callgrind_annotate target/instructions/pieces.1` shows where those of the first went.

use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use super::{Operation, pieces};

/// The argument with which the process under valgrind is started.
pub(crate) const ALONE: &str = "--alone";

/// What a budget allows beyond itself.
const TOLERANCE: f64 = 1.05;

/// Calls before any count: buffers have grown, and first times are over.
const WARM_UP: u32 = 32;

/// Calls that are counted.
const CALLS: u32 = 64;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Runs the pieces of these names, or all. The caller is valgrind.
pub(crate) fn alone(names: &[&str]) -> ExitCode {
    for piece in pieces().into_iter().filter(|piece| names.is_empty() || names.contains(&piece.name)) {
        let mut operation = (piece.prepare)();
        for _ in 0..WARM_UP {
            operation();
        }
        counted(&mut operation);
    }
    ExitCode::SUCCESS
}

/// Valgrind knows this function by its name.
#[inline(never)]
fn counted(operation: &mut Operation) {
    for _ in 0..CALLS {
        black_box(&mut *operation)();
    }
}

/// Counts, prints a table, and says whether every budget is kept. Writes the budgets instead if told to.
pub(crate) fn check(writes: bool) -> ExitCode {
    match counts().and_then(|counts| if writes { write(&counts) } else { compare(&counts) }) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn budgets_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/pieces/budgets.txt")
}

/// The instructions that one of each piece takes.
fn counts() -> Result<Vec<(&'static str, f64)>> {
    let profiles = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/instructions");
    // What another run has left would be taken for this one's.
    let _ = fs::remove_dir_all(&profiles);
    fs::create_dir_all(&profiles)?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=pieces::instructions::counted"])
        .args(["--dump-after=pieces::instructions::counted", "--error-exitcode=1", "--quiet"])
        .arg(format!("--callgrind-out-file={}", profiles.join("pieces").display()))
        .arg(env::current_exe()?)
        .arg(ALONE)
        .output()
        .map_err(|error| format!("valgrind cannot be started ({error}); `scripts/setup` installs it"))?;
    if !output.status.success() {
        return Err(format!("under valgrind: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let pieces = pieces();
    let counts = pieces.iter().enumerate().map(|(nth, piece)| {
        let profile = fs::read_to_string(profiles.join(format!("pieces.{}", nth + 1)))?;
        let total = profile.lines().find_map(|line| line.strip_prefix("summary: ")).ok_or("a profile has no sum")?;
        let total: f64 = total.trim().parse()?;
        Ok((piece.name, total / f64::from(CALLS) / f64::from(piece.each)))
    });
    counts.collect()
}

fn rustc() -> Result<String> {
    let version = Command::new(env::var_os("RUSTC").unwrap_or("rustc".into())).arg("--version").output()?;
    Ok(String::from_utf8(version.stdout)?.trim().to_owned())
}

fn write(counts: &[(&str, f64)]) -> Result<bool> {
    let mut text = format!("{}\n", rustc()?);
    for (name, count) in counts {
        let _ = writeln!(text, "{count:9.0}  {name}");
    }
    print!("{text}");
    fs::write(budgets_path(), text)?;
    Ok(true)
}

fn compare(counts: &[(&str, f64)]) -> Result<bool> {
    let text = fs::read_to_string(budgets_path())?;
    let mut lines = text.lines();
    let compiler = lines.next().ok_or("the first line of the budgets names a compiler")?;
    let budgets = lines
        .map(|line| {
            let (budget, name) = line.trim().split_once("  ").ok_or_else(|| format!("not a budget: {line}"))?;
            Ok((name, budget.parse::<f64>()?))
        })
        .collect::<Result<Vec<_>>>()?;
    println!("instructions  budget  of it");
    let mut kept = true;
    for (name, count) in counts {
        let Some((_, budget)) = budgets.iter().find(|(budgeted, _)| budgeted == name) else {
            return Err(format!("no budget for \"{name}\"; `--instructions --write` makes them").into());
        };
        let ratio = count / budget;
        let over = if ratio > TOLERANCE { "  OVER ITS BUDGET" } else { "" };
        println!("{count:12.0} {budget:7.0} {:4.0} %  {name}{over}", ratio * 100.0);
        kept &= over.is_empty();
    }
    if let Some((name, _)) = budgets.iter().find(|(name, _)| !counts.iter().any(|(counted, _)| counted == name)) {
        return Err(format!("\"{name}\" has a budget and is not measured").into());
    }
    let here = rustc()?;
    if !kept && here != compiler {
        println!("The budgets are those of {compiler}; this is {here}, which proves nothing.");
        return Ok(true);
    }
    Ok(kept)
}
