//! Targeted mode: estimates from samples, with intervals that hold.

use std::process::Command;

use anyhow::ensure;
use mlh_integration::inspection::Inspection;
use mlh_integration::scenario::scenario;
use mlh_integration::truth::{Figures, Place, Subject, stacks};
use mlh_integration::{compile, need};

/// Guarantees: of twenty functions of which every tenth block is looked at, the live bytes lie within the stated 95 %
/// interval for fifteen at least (fewer would be one chance in 3,000), and within three times its width for all; the
/// sum is as good as the sums of the functions; large blocks are told to the byte.
/// Needs: root, eBPF, gcc.
#[test]
fn hold_as_often_as_they_say() {
    scenario(|world| {
        need::ebpf()?;
        let program = compile::c(world, "many", "c/many.c", &[])?;
        let mut subject = Subject::start(world, "subject", &mut Command::new(program))?;
        let settings = ["--mode", "targeted", "--min-allocation-size", "1KiB", "--overhead-budget", "100%"];
        let more = ["--sampling-rate", "10", "--top", "0"];
        let look = Inspection::start(world, "inspect", subject.pid(), &[&settings[..], &more].concat())?;
        let truth = subject.work()?;
        let report = look.report()?;
        let stacks = stacks(&report)?;
        let (mut within, mut sum, mut all, mut variance) = (0, 0, 0, 0.0);
        for site in &truth.sites {
            let mut told = Figures::default();
            let mut error = 0;
            for stack in stacks.iter().filter(|stack| !stack.mapped && site.place.is(stack)) {
                told.add(&stack.figures);
                error += stack.error_bytes;
            }
            let off = told.live_bytes.abs_diff(site.figures.live_bytes);
            if site.place == Place::Function("keep_large".to_owned()) {
                ensure!(
                    told == site.figures && error == 0,
                    "large blocks: {told:?} +-{error}, {:?}",
                    site.figures
                );
                continue;
            }
            ensure!(error > 0 && off <= 3 * error, "{site:?} is told as {told:?} +-{error}");
            within += u32::from(off <= error);
            variance += (error as f64).powi(2);
            sum += told.live_bytes;
            all += site.figures.live_bytes;
        }
        ensure!(within >= 15, "{within} of 20 within their interval");
        let error = variance.sqrt();
        ensure!(sum.abs_diff(all) as f64 <= 2.0 * error, "{all} in all are told as {sum}, +-{error}");
        Ok(())
    });
}
