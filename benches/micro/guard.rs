//! Judging an address, which is done at each connect. Of each family one that may be reached, which is held against all
//! forbidden ranges, and one that may not.

use std::net::IpAddr;

use divan::{Bencher, black_box};
use ringback::transport::guard::Guard;

#[divan::bench(args = ["8.8.8.8", "169.254.169.254", "2606:4700:4700::1111", "fd00:ec2::254"], sample_size = 1000)]
fn judge(bencher: Bencher, address: &str) {
    let (guard, address): (_, IpAddr) = (Guard::new(Vec::new()), address.parse().unwrap());
    bencher.bench(|| black_box(&guard).judge(black_box(address)));
}
