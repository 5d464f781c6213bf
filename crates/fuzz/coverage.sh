#!/bin/sh
# Called by cargo in the place of rustc (RUSTC_WORKSPACE_WRAPPER), for the crates of the workspace: lets them count
# which of their branches are taken. A stable compiler can do it, because the pass is LLVM's own.
case " $* " in
    *" --crate-name fastness_"*)
        exec "$@" --cfg fuzz_coverage -C codegen-units=1 -C passes=sancov-module \
            -C llvm-args=-sanitizer-coverage-level=3 -C llvm-args=-sanitizer-coverage-inline-8bit-counters
        ;;
    *" --crate-name fuzz "*) exec "$@" --cfg fuzz_coverage ;;
    *) exec "$@" ;;
esac
