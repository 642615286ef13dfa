//! `tcrt bench`: how fast a model runs, the memory reads, and each kernel computes.

mod bandwidth;
mod kernels;
mod samples;
mod shapes;
mod speed;

use crate::args::Bench;
use crate::output::{Result, failure, show};

pub fn bench(args: &Bench) -> Result<()> {
    if args.prompt == 0 || args.decode == 0 || args.repeat == 0 || args.batch == 0 {
        return failure("-p, -n, -r and --batch must be at least 1");
    }
    if args.kernels {
        return kernels::kernels(args);
    }
    match (&args.file, args.bandwidth) {
        (Some(file), _) => speed::speed(args, file),
        (None, true) => only_bandwidth(args),
        (None, false) => failure("give a model file, --bandwidth or --kernels"),
    }
}

fn only_bandwidth(args: &Bench) -> Result<()> {
    let rates = bandwidth::Reader::new(args.engine.threads).samples(args.repeat.max(9));
    if args.json {
        let json = serde_json::json!({ "read_bandwidth": rates.median(), "read_bandwidth_spread": rates.spread() });
        return show(format!("{json}\n"));
    }
    let [least, most] = rates.spread().map(|rate| rate / 1e9);
    show(format!("read bandwidth{:>18.1} GB/s   [{least:.1} – {most:.1}]\n", rates.median() / 1e9))
}
