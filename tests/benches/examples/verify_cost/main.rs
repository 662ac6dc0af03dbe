//! What one `/verify` costs the process: CPU time and context switches, beside a node on loopback with a fixed latency.
//!
//! ```text
//! cargo build --release -p switchyard -p plugin-evm
//! cargo run --release -p benches --example verify_cost -- target/release/switchyard target/release/libswitchyard_evm.so
//! ```
//!
//! Further arguments, each with its default: the node's latency in milliseconds (`5`), the verifies per round (`4000`), the
//! connections (`1,16,64`), the rounds (`3`) and the plugin's isolation (`none`, or `process`). Every payload is distinct, so that no cache answers. The good payment must be
//! valid and a forged one refused before anything is measured.
//!
//! The CPU time is that of the facilitator's process and of its plugin's, where that is isolated (`/proc/PID/stat`), as are the
//! context switches (sum over `/proc/PID/task/*/status`). The node and the callers share the machine with it, so that throughput depends on them too.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "a program that measures"
)]

mod facilitator;
mod node;
mod payment;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use facilitator::Facilitator;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument =
        |at: usize, default: &str| arguments.get(at).map_or_else(|| default.to_owned(), Clone::clone);
    let (Some(binary), Some(plugin)) = (arguments.first(), arguments.get(1)) else {
        return Err(
            "usage: verify_cost BINARY PLUGIN [LATENCY_MS] [COUNT] [CONNECTIONS] [ROUNDS] [ISOLATION]".into(),
        );
    };
    let latency = Duration::from_millis(argument(2, "5").parse()?);
    let count: usize = argument(3, "4000").parse()?;
    let rounds: usize = argument(5, "3").parse()?;
    let connections = argument(4, "1,16,64");
    let connections: Vec<usize> = connections.split(',').map(str::parse).collect::<Result<_, _>>()?;

    let node = node::start(latency)?;
    let isolation = argument(6, "none");
    let facilitator = Facilitator::start(binary.as_ref(), plugin.as_ref(), &isolation, node)?;
    let mut caller = Caller::connect(facilitator.address)?;
    for (what, is_valid) in [(payment::Kind::Good, true), (payment::Kind::Forged, false)] {
        let reply = caller.post(&payment::request(what))?;
        let wanted = format!("\"isValid\":{is_valid}");
        if !reply.contains(&wanted) {
            return Err(format!("{wanted} expected, the reply is {reply}").into());
        }
    }
    drop(caller);
    println!("connections  verifies/s  CPU us/verify  switches/verify (voluntary + other)  p50 ms");
    for round in 0..=rounds {
        for connections in &connections {
            // The first round fills caches and pools.
            let count = if round == 0 { 200 } else { count };
            let line = measure(&facilitator, *connections, count)?;
            if round > 0 {
                println!("{line}");
            }
        }
    }
    Ok(())
}

fn measure(facilitator: &Facilitator, connections: usize, count: usize) -> Result<String, Failure> {
    let bodies: Arc<[String]> = (0..count)
        .map(|_| payment::request(payment::Kind::Good))
        .collect();
    let next = Arc::new(AtomicUsize::new(0));
    let mut callers = Vec::new();
    for _ in 0..connections {
        callers.push(Caller::connect(facilitator.address)?);
    }
    let before = facilitator.usage()?;
    let started = Instant::now();
    let threads: Vec<_> = callers
        .into_iter()
        .map(|mut caller| {
            let (bodies, next) = (Arc::clone(&bodies), Arc::clone(&next));
            std::thread::spawn(move || -> Result<Vec<Duration>, Failure> {
                let mut times = Vec::new();
                while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let sent = Instant::now();
                    let reply = caller.post(body)?;
                    times.push(sent.elapsed());
                    if !reply.contains("\"isValid\":true") {
                        return Err(format!("not valid: {reply}").into());
                    }
                }
                Ok(times)
            })
        })
        .collect();
    let mut times = Vec::new();
    for thread in threads {
        times.extend(thread.join().map_err(|_| "a caller panicked")??);
    }
    let took = started.elapsed();
    let used = facilitator.usage()?.since(before);
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let per = |total: f64| total / count as f64;
    Ok(format!(
        "{connections:>11}  {:>10.0}  {:>13.1}  {:>15.2} + {:<18.2}  {:>6.2}",
        count as f64 / took.as_secs_f64(),
        per(used.cpu.as_secs_f64() * 1e6),
        per(used.voluntary as f64),
        per(used.involuntary as f64),
        median.as_secs_f64() * 1e3,
    ))
}

/// A connection that is kept open.
struct Caller {
    stream: BufReader<TcpStream>,
}

impl Caller {
    fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    fn post(&mut self, body: &str) -> Result<String, Failure> {
        let request = format!(
            "POST /verify HTTP/1.1\r\nhost: f\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut length = None;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err("the facilitator closed the connection".into());
            }
            if line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = Some(value.trim().parse()?);
            }
        }
        let mut body = vec![0; length.ok_or("a reply without a length")?];
        self.stream.read_exact(&mut body)?;
        Ok(String::from_utf8(body)?)
    }
}
