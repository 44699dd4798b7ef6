//! This machine's processor, memory, network and disks, several times a second.
//!
//! ```sh
//! cargo run --example host_metrics        # or: -- 127.0.0.1:8080
//! ```
//!
//! The page that it prints the address of lists the topics; click one to follow it. Each group of
//! figures has a topic of its own: a screen that shows the load alone subscribes to `host.cpu`, one
//! that shows everything to `host.*`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to a terminal")]

mod support;

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use fanfare::{Broker, Data, PublishError, Publisher, Service, TryPublishError};
use serde::Serialize;
use sysinfo::{Disks, Networks, System};

/// The load is a mean over this stretch. A shorter one would say little: Linux counts the time of
/// processors in hundredths of a second.
const EVERY: Duration = Duration::from_millis(250);
/// Disks fill slowly.
const DISKS_EVERY: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = support::listen().await?;
    let broker = Broker::new();
    let service = Service::new(broker.clone());
    println!("look at http://{0}/, or subscribe to host.* at ws://{0}/ws", listener.local_addr()?);

    // To ask the system blocks, so it is done on threads of its own and not on those that serve
    // clients. The disks have one to themselves: a network drive can take seconds to answer.
    let figures = Figures::new(&broker)?;
    let disks = broker.publisher("host.disk")?;
    thread::spawn(move || report("figures", figures.publish()));
    thread::spawn(move || report("disks", publish_disks(&disks)));

    let app = Router::new().fallback_service(service.clone());
    let stop = async move {
        let _ = tokio::signal::ctrl_c().await;
        service.drain(Duration::from_secs(1));
        service.drained().await;
    };
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    Ok(())
}

fn report(what: &str, ended: Result<(), PublishError>) {
    if let Err(error) = ended {
        eprintln!("{what} are published no longer: {error}");
    }
}

/// A handle per topic: it finds the topic once instead of with every message.
struct Figures {
    cpu: Publisher,
    memory: Publisher,
    network: Publisher,
}

#[derive(Serialize)]
struct Cpu {
    percent: f32,
    cores: Vec<f32>,
}

#[derive(Serialize)]
struct Memory {
    used_bytes: u64,
    total_bytes: u64,
}

#[derive(Serialize)]
struct Network {
    received_per_second: f64,
    sent_per_second: f64,
}

#[derive(Serialize)]
struct Disk {
    mounted: String,
    free_bytes: u64,
    total_bytes: u64,
}

impl Figures {
    fn new(broker: &Broker) -> Result<Figures, PublishError> {
        Ok(Figures {
            cpu: broker.publisher("host.cpu")?,
            memory: broker.publisher("host.memory")?,
            network: broker.publisher("host.network")?,
        })
    }

    fn publish(&self) -> Result<(), PublishError> {
        let (mut system, mut networks) = (System::new(), Networks::new_with_refreshed_list());
        // The load is a difference, so there is none before the second reading.
        system.refresh_cpu_usage();
        let mut last = Instant::now();
        loop {
            thread::sleep(EVERY);
            system.refresh_cpu_usage();
            system.refresh_memory();
            networks.refresh(true);
            // The machine may have been too busy to wake this thread in time.
            let seconds = last.elapsed().as_secs_f64();
            last = Instant::now();

            let cores = system.cpus().iter().map(|core| tenths(core.cpu_usage())).collect();
            publish(&self.cpu, &Cpu { percent: tenths(system.global_cpu_usage()), cores })?;
            let (used_bytes, total_bytes) = (system.used_memory(), system.total_memory());
            publish(&self.memory, &Memory { used_bytes, total_bytes })?;
            let received: u64 = networks.values().map(sysinfo::NetworkData::received).sum();
            let sent: u64 = networks.values().map(sysinfo::NetworkData::transmitted).sum();
            let per_second = |bytes: u64| (bytes as f64 / seconds).round();
            let (received_per_second, sent_per_second) = (per_second(received), per_second(sent));
            publish(&self.network, &Network { received_per_second, sent_per_second })?;
        }
    }
}

fn publish_disks(publisher: &Publisher) -> Result<(), PublishError> {
    let mut disks = Disks::new_with_refreshed_list();
    loop {
        let figures: Vec<Disk> = disks.iter().map(Disk::from).collect();
        publish(publisher, &figures)?;
        thread::sleep(DISKS_EVERY);
        disks.refresh(true);
    }
}

impl From<&sysinfo::Disk> for Disk {
    fn from(disk: &sysinfo::Disk) -> Self {
        Disk {
            mounted: disk.mount_point().to_string_lossy().into_owned(),
            free_bytes: disk.available_space(),
            total_bytes: disk.total_space(),
        }
    }
}

/// Publishes now or not at all: when subscribers are served slower than figures come, the next
/// figures say more than these would.
fn publish(publisher: &Publisher, figures: &impl Serialize) -> Result<(), PublishError> {
    match publisher.try_publish(Data::from_serialize(figures)?) {
        Err(TryPublishError::Refused(error)) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// As much as anybody can read at four a second. In JSON a single-precision number is as short as it
/// looks.
fn tenths(value: f32) -> f32 {
    (value * 10.0).round() / 10.0
}
