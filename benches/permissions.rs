//! What a permission check costs with 200 patterns.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use fanfare::auth::{PermissionClaims, Right};

fn checks(c: &mut Criterion) {
    // The kinds that claims have: names, tails, and wildcards in the midst, all with the same beginning.
    let patterns = (0..200).map(|number| match number % 4 {
        0 => format!("tenant.{number}.rooms.>"),
        1 => format!("tenant.{number}.*.prices"),
        2 => format!("tenant.*.{number}.news"),
        _ => format!("tenant.{number}.orders.new"),
    });
    let claims = PermissionClaims { subscribe: patterns.collect(), ..PermissionClaims::default() };
    let permissions = claims.permissions(Some("ana"));
    let mut group = c.benchmark_group("permissions/200");
    for (name, wanted, expected) in [
        ("name", "tenant.199.orders.new", true),
        ("tail", "tenant.100.rooms.1.messages", true),
        ("wildcard", "tenant.7.198.news", true),
        ("pattern", "tenant.100.rooms.*", true),
        ("denied", "tenant.7.199.news", false),
        ("denied_at_once", "other.7", false),
    ] {
        assert_eq!(permissions.allow(Right::Subscribe, wanted), expected, "{wanted}");
        group.bench_function(name, |b| b.iter(|| permissions.allow(Right::Subscribe, black_box(wanted))));
    }
    group.finish();
}

criterion_group!(benches, checks);
criterion_main!(benches);
