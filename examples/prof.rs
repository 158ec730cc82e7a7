//! Throwaway.
#[path = "../scripts/bench_src/log_maker.rs"]
mod log_maker;
use marshal::event_log::replay::*;
use marshal::roster::Roster;
use marshal::time::Now;
use std::io::Read;
use std::time::Instant;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let p = std::path::Path::new(&a[2]);
    match a[1].as_str() {
        "gen" => {
            log_maker::write_history(p, a[3].parse::<u64>().unwrap() << 20).unwrap();
        }
        "live" => {
            log_maker::write_living(p, a[3].parse().unwrap(), a[4].parse().unwrap()).unwrap();
        }
        mode => {
            for _ in 0..a[3].parse::<usize>().unwrap() {
                let t0 = Instant::now();
                let n = std::fs::metadata(p).unwrap().len() as f64;
                if mode == "json" {
                    let mut lines = Lines::new(std::fs::File::open(p).unwrap());
                    while let Some(RawLine::Whole(l)) = lines.next_line().unwrap() {
                        serde_json::from_slice::<serde::de::IgnoredAny>(l).unwrap();
                    }
                    println!("json {:.0} MB/s", n / 1e6 / t0.elapsed().as_secs_f64());
                    continue;
                }
                if mode == "parse" {
                    let mut lines = Lines::new(std::fs::File::open(p).unwrap());
                    let mut c = 0;
                    while let Some(RawLine::Whole(l)) = lines.next_line().unwrap() {
                        marshal::event_log::line::parse(l).unwrap();
                        c += 1;
                    }
                    println!("parse {:.0} MB/s {c}", n / 1e6 / t0.elapsed().as_secs_f64());
                    continue;
                }
                let f = Fold::read(std::fs::File::open(p).unwrap()).unwrap();
                let t1 = Instant::now();
                let bad = f.damage.lines;
                let lines = f.lines;
                let (rows, _) = f.into_rows();
                let count = rows.len();
                let t2 = Instant::now();
                let mut r = Roster::new();
                if mode == "full" {
                    r.load(rows, Now::at(1_795_220_000_000));
                }
                let t3 = Instant::now();
                std::mem::forget(r);
                println!(
                    "{lines} lines {count} rows bad {bad}: fold {:.1} ms ({:.0} MB/s, {:.0} ns/line) rows {:.1} ms load {:.1} ms ({:.0} ns/row) total {:.0} MB/s",
                    (t1 - t0).as_secs_f64() * 1e3,
                    n / 1e6 / (t1 - t0).as_secs_f64(),
                    (t1 - t0).as_secs_f64() * 1e9 / lines as f64,
                    (t2 - t1).as_secs_f64() * 1e3,
                    (t3 - t2).as_secs_f64() * 1e3,
                    (t3 - t2).as_secs_f64() * 1e9 / count as f64,
                    n / 1e6 / (t3 - t0).as_secs_f64()
                );
            }
        }
    }
    let mut s = String::new();
    std::fs::File::open("/proc/self/status").unwrap().read_to_string(&mut s).unwrap();
    for l in s.lines().filter(|l| l.starts_with("VmHWM") || l.starts_with("VmRSS")) {
        println!("{l}");
    }
}
