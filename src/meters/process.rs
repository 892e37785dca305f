//! The figures of the process that Prometheus' clients have by convention, read from /proc when they are asked for. Elsewhere there are
//! none.

use std::fs;

use metrics::{Counter, Gauge, Key, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::PrometheusRecorder;
use rustix::process::{Resource, getrlimit};

use super::METADATA;

/// The meters, looked up once.
pub(super) struct Process {
    cpu: Counter,
    threads: Gauge,
    resident: Gauge,
    virtual_memory: Gauge,
    virtual_memory_max: Gauge,
    open_files: Gauge,
    open_files_max: Gauge,
    started: Gauge,
}

impl Process {
    pub fn new(recorder: &PrometheusRecorder) -> Self {
        let gauge = |name: &'static str, unit, text| {
            recorder.describe_gauge(name.into(), unit, SharedString::const_str(text));
            recorder.register_gauge(&Key::from_static_name(name), &METADATA)
        };
        let cpu = "process_cpu_seconds_total";
        recorder.describe_counter(cpu.into(), Some(Unit::Seconds), "Total user and system CPU time spent in seconds.".into());
        Self {
            cpu: recorder.register_counter(&Key::from_static_name(cpu), &METADATA),
            threads: gauge("process_threads", None, "Number of OS threads in the process."),
            resident: gauge("process_resident_memory_bytes", Some(Unit::Bytes), "Resident memory size in bytes."),
            virtual_memory: gauge("process_virtual_memory_bytes", Some(Unit::Bytes), "Virtual memory size in bytes."),
            virtual_memory_max: gauge("process_virtual_memory_max_bytes", Some(Unit::Bytes), "Maximum amount of virtual memory in bytes."),
            open_files: gauge("process_open_fds", None, "Number of open file descriptors."),
            open_files_max: gauge("process_max_fds", None, "Maximum number of open file descriptors."),
            started: gauge("process_start_time_seconds", Some(Unit::Seconds), "Start time of the process since unix epoch in seconds."),
        }
    }

    /// Reads them. One that cannot be read stays as it was.
    pub fn measure(&self) {
        let limit = |resource| getrlimit(resource).current.map_or(0.0, |limit| limit as f64);
        self.open_files_max.set(limit(Resource::Nofile));
        self.virtual_memory_max.set(limit(Resource::As));
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            self.open_files.set(files.count() as f64);
        }
        let Some(Stat { ticks, threads, started, size, pages }) = fs::read_to_string("/proc/self/stat").ok().and_then(|text| stat(&text))
        else {
            return;
        };
        let a_second = rustix::param::clock_ticks_per_second() as f64;
        self.cpu.absolute((ticks as f64 / a_second) as u64);
        self.threads.set(threads as f64);
        self.virtual_memory.set(size as f64);
        self.resident.set((pages * rustix::param::page_size() as u64) as f64);
        let booted = fs::read_to_string("/proc/stat").ok();
        let booted =
            booted.as_deref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok()));
        if let Some(booted) = booted {
            self.started.set(booted + started as f64 / a_second);
        }
    }
}

/// What /proc/PID/stat has, as proc(5) numbers it.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// Fields 14 and 15, user and system time, in clock ticks.
    ticks: u64,
    /// Field 20.
    threads: u64,
    /// Field 22, in clock ticks after the machine started.
    started: u64,
    /// Field 23, in bytes.
    size: u64,
    /// Field 24.
    pages: u64,
}

fn stat(text: &str) -> Option<Stat> {
    // The name of the program is field 2, in brackets, and may have any character.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat { ticks: field(14)? + field(15)?, threads: field(20)?, started: field(22)?, size: field(23)?, pages: field(24)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_have_any_name() {
        let text = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 12 3 0 0 20 0 16 0 4711 2150019072 12370 18446744073709551615 1 1";
        assert_eq!(stat(text), Some(Stat { ticks: 15, threads: 16, started: 4711, size: 2_150_019_072, pages: 12370 }));
        assert_eq!(stat("7 (a) S 1"), None);
        assert_eq!(stat(""), None);
    }
}
