//! Who used the processors meanwhile: figures from a machine that also does something else are worth little.

use std::fs::read_to_string;

use super::grantd::Served;

/// Processor time, in clock ticks.
struct Ticks {
    server: u64,
    bench: u64,
    /// Of everybody, these two included, and of the machine's host.
    busy: u64,
    /// Of everybody and of nobody.
    all: u64,
}

/// The work that is done from some moment on.
pub(crate) struct Work {
    process: u32,
    before: Ticks,
}

impl Work {
    /// From now on.
    pub(crate) fn of(served: &Served) -> Self {
        Self { process: served.id(), before: Ticks::now(served.id()) }
    }

    /// Prints the shares of it until now.
    pub(crate) fn print(&self) {
        let (before, now) = (&self.before, Ticks::now(self.process));
        let all = now.all - before.all;
        let share = |ticks: u64| 100.0 * ticks as f64 / all.max(1) as f64;
        let (server, bench) = (now.server - before.server, now.bench - before.bench);
        let others = (now.busy - before.busy).saturating_sub(server + bench);
        println!(
            "\nof {} cores: grantd {:.0} %, this bench {:.0} %, anything else {:.0} % (a quiet machine: below 5 %)",
            std::thread::available_parallelism().map_or(1, usize::from),
            share(server),
            share(bench),
            share(others)
        );
    }
}

impl Ticks {
    fn now(process: u32) -> Self {
        let stat = read_to_string("/proc/stat").unwrap_or_default();
        let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
        let fields: Vec<u64> = fields.filter_map(|ticks| ticks.parse().ok()).collect();
        let all: u64 = fields.iter().sum();
        // proc(5): the fourth and the fifth are idle time, without and with a disk to wait for.
        let idle: u64 = fields.iter().skip(3).take(2).sum();
        Self { server: of_process(process), bench: of_process(std::process::id()), busy: all - idle, all }
    }
}

fn of_process(id: u32) -> u64 {
    let stat = read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // proc(5): the 14th and the 15th field; the second is a name, which may hold spaces.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}
