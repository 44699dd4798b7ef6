//! `--demo`: this machine's own figures, several times a second, so that a first visit shows life.

use std::time::Duration;

use serde_json::{Value, json};
use sysinfo::{Disks, Networks, System};

use crate::broker::Broker;

const CPU_EVERY: Duration = Duration::from_millis(250);
/// Memory and network with every second of the CPU's figures, disks with every twentieth.
const MEMORY_EVERY: u32 = 2;
const DISKS_EVERY: u32 = 20;

/// Publishes `host.cpu`, `host.memory`, `host.network` and `host.disk` for as long as it runs.
pub(super) async fn publish(broker: Broker) {
    let mut host = Host::new();
    let mut ticks = tokio::time::interval(CPU_EVERY);
    for round in 0_u32.. {
        ticks.tick().await;
        for (topic, figures) in host.figures(round) {
            if let Err(error) = broker.publish(topic, &figures).await {
                tracing::warn!(%error, topic, "the demo's figures could not be published");
            }
        }
    }
}

struct Host {
    system: System,
    networks: Networks,
    disks: Disks,
}

impl Host {
    fn new() -> Self {
        Host {
            system: System::new(),
            networks: Networks::new_with_refreshed_list(),
            disks: Disks::new_with_refreshed_list(),
        }
    }

    /// What is due in that round.
    fn figures(&mut self, round: u32) -> Vec<(&'static str, Value)> {
        self.system.refresh_cpu_usage();
        let cores: Vec<f64> = self.system.cpus().iter().map(|cpu| tenth(f64::from(cpu.cpu_usage()))).collect();
        let load = System::load_average();
        let percent = tenth(f64::from(self.system.global_cpu_usage()));
        let mut due = vec![(
            "host.cpu",
            json!({"percent": percent, "cores": cores, "load": [load.one, load.five, load.fifteen]}),
        )];
        if round.is_multiple_of(MEMORY_EVERY) {
            self.system.refresh_memory();
            let (used, total) = (self.system.used_memory(), self.system.total_memory());
            due.push(("host.memory", json!({"used_bytes": used, "total_bytes": total, "percent": share(used, total)})));
            self.networks.refresh(true);
            let received: u64 = self.networks.values().map(sysinfo::NetworkData::received).sum();
            let sent: u64 = self.networks.values().map(sysinfo::NetworkData::transmitted).sum();
            let per_second = |bytes: u64| bytes * 1_000 / (CPU_EVERY.as_millis() as u64 * u64::from(MEMORY_EVERY));
            due.push((
                "host.network",
                json!({"received_per_second": per_second(received), "sent_per_second": per_second(sent)}),
            ));
        }
        if round.is_multiple_of(DISKS_EVERY) {
            self.disks.refresh(true);
            let disks: Vec<Value> = self.disks.iter().map(disk).collect();
            due.push(("host.disk", json!({ "disks": disks })));
        }
        due
    }
}

fn disk(disk: &sysinfo::Disk) -> Value {
    let (free, total) = (disk.available_space(), disk.total_space());
    let mounted = disk.mount_point().to_string_lossy();
    json!({"mounted": mounted, "free_bytes": free, "total_bytes": total, "percent": share(total - free.min(total), total)})
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { tenth(part as f64 * 100.0 / whole as f64) }
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
