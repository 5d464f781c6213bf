//! Requests as the engine and the rules of users take them.

use std::cell::RefCell;

use fastness_acl::User;
use fastness_engine::EffectBuf;
use fastness_engine::command::{Run, table};
use fastness_resp::request::{self, ArgSpans, Limits, Parsed};
use fastness_resp::{Args, Protocol, value};

use super::input::{inputs, words};
use crate::Target;
use crate::bench::{ENGINES_BYTES, NOW, run_args, with_engines};

pub(super) const COMMANDS: Target = Target {
    name: "commands",
    what: "commands with any arguments: a request has one reply in either protocol, its effects make the same data on a \
           replica, and keys and rights are found in every request",
    bytes_max: 250,
    share: 3,
    seeds,
    words: command_words,
    memory: |length| ENGINES_BYTES + (64 << 20) + 4096 * length,
    run,
};

/// Commands of one input that run: several, so that they meet each other's data, and few, because some walk through all
/// slots.
const COMMANDS_MAX: u32 = 7;
/// Numbers that are not given to SETRANGE: bytes that it would have to write.
const OFFSETS: std::ops::RangeInclusive<u64> = 20_000..=600_000_000;
/// Numbers that are not given to commands whose replies grow with them, up to 64 MiB.
const COUNTS: std::ops::RangeInclusive<u64> = 200..=i64::MAX as u64;

fn seeds() -> Vec<Vec<u8>> {
    inputs(&[
        b"SET a 1\r\nINCR a\r\nINCRBYFLOAT a 1.5\r\nAPPEND a x\r\nGETRANGE a 0 -1\r\nSETRANGE a 5 y\r\nSTRLEN a\r\n",
        b"SET a v PX 100 NX GET\r\nGETEX a PERSIST\r\nPTTL a\r\nPEXPIRE a 10 GT\r\nEXPIRETIME a\r\nPERSIST a\r\nTTL a\r\n",
        b"MSET a 1 b 2\r\nMSETNX a 1 a 2\r\nMSETEX 2 a 1 b 2 NX EX 10\r\nMGET a b c\r\nLCS a b IDX MINMATCHLEN 1\r\nDEL a b\r\n",
        b"HSET h f 1 g 2\r\nHINCRBY h f 5\r\nHINCRBYFLOAT h f 1.25\r\nHGETALL h\r\nHRANDFIELD h -3 WITHVALUES\r\nHDEL h f\r\nHLEN h\r\n",
        b"HSETEX h FNX PX 100 FIELDS 2 f 1 g 2\r\nHGETEX h PERSIST FIELDS 1 f\r\nHPEXPIRE h 10 NX FIELDS 1 g\r\nHPTTL h FIELDS 2 f g\r\nHPERSIST h FIELDS 1 g\r\nHGETDEL h FIELDS 1 f\r\n",
        b"HSETNX h f 1\r\nHMSET h f 1\r\nHMGET h f g\r\nHSTRLEN h f\r\nHEXISTS h f\r\nHKEYS h\r\nHVALS h\r\nHSCAN h 0 MATCH f* COUNT 5 NOVALUES\r\n",
        b"PFADD h a b c\r\nPFCOUNT h\r\nPFMERGE g h\r\nSETRANGE g 16 \"\\x7f\\xff\\x84\"\r\nPFCOUNT g h\r\nPFADD g a\r\nPFDEBUG DECODE g\r\n",
        b"SET h \"HYLL\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x80\\x7f\\xff\"\r\nPFDEBUG TODENSE h\r\nPFADD h a\r\nPFMERGE h h\r\nPFDEBUG GETREG h\r\n",
        b"ZADD z 1 f 2.5 g inf h\r\nZINCRBY z -1 f\r\nZRANGE z 0 -1 WITHSCORES\r\nZRANGEBYSCORE z (1 +inf LIMIT 0 2\r\nZRANK z g WITHSCORE\r\nZPOPMIN z 1\r\n",
        b"ZADD z GT CH 1 f 1 g\r\nZRANGEBYLEX z [f (h\r\nZUNIONSTORE y 2 z z WEIGHTS 2 3 AGGREGATE MIN\r\nZREMRANGEBYRANK z 0 0\r\nZSCAN y 0 COUNT 5\r\nZRANDMEMBER y -3\r\n",
        b"SET {a}a 1\r\nRENAME {a}a {a}b\r\nCOPY {a}b {a}c REPLACE\r\nRENAMENX {a}b {a}c\r\nSCAN 0 MATCH *a* COUNT 10 TYPE string\r\nKEYS *\r\nRANDOMKEY\r\n",
        b"SET a abc\r\nDUMP a\r\nRESTORE b 0 \"\\x00\\xc0\\x01P\\x00\\xe9R.'OSv\\x08\" REPLACE ABSTTL\r\nOBJECT ENCODING b\r\nOBJECT IDLETIME b\r\nTYPE b\r\nTOUCH a b\r\n",
        b"DELIFEQ a 1\r\nGETDEL a\r\nGETSET a 1\r\nSETEX a 10 v\r\nPSETEX a 10 v\r\nSETNX a v\r\nSUBSTR a 0 1\r\nDECRBY a 3\r\nMEMORY USAGE a SAMPLES 5\r\n",
        b"CLUSTER KEYSLOT a\r\nCLUSTER COUNTKEYSINSLOT 15495\r\nCLUSTER GETKEYSINSLOT 15495 10\r\nCLUSTERSCAN 0\r\nCLUSTER SLOT-STATS SLOTSRANGE 0 100\r\nCLUSTER FLUSHSLOT 15495\r\nDBSIZE\r\n",
        b"FLUSHALL ASYNC\r\nFLUSHDB SYNC\r\nLOLWUT VERSION 5 1 2\r\nTIME\r\nECHO x\r\nPING x\r\nMOVE a 1\r\nSELECT 0\r\n",
        b"SORT a BY w_* GET # STORE b\r\nGEORADIUS a 0 0 1 m STORE b STOREDIST c\r\nEVAL x 2 a b c\r\nXREAD STREAMS a b 0 0\r\nMIGRATE h 1 \"\" 0 1 KEYS a b\r\nZUNION 2 a b\r\nLMPOP 1 a LEFT\r\n",
        b"COMMAND GETKEYS SET a b\r\nCOMMAND DOCS get\r\nCONFIG GET *\r\nACL SETUSER a on\r\nMULTI\r\nEXEC\r\nPUBLISH ch m\r\nSUBSCRIBE a\r\n",
    ])
}

fn command_words() -> Vec<Vec<u8>> {
    let names = table().all().iter().map(|spec| spec.name.replace('|', " ").into_bytes());
    names
        .chain(words(&[
            "PX",
            "EX",
            "PXAT",
            "EXAT",
            "NX",
            "XX",
            "GT",
            "LT",
            "KEEPTTL",
            "GET",
            "IFEQ",
            "FIELDS",
            "FNX",
            "FXX",
            "REPLACE",
            "WITHVALUES",
            "MATCH",
            "COUNT",
            "TYPE",
            "STORE",
            "BY",
            "STREAMS",
            "KEYS",
            "a",
            "b",
            "h",
            "{a}",
            "f",
            "\r\n",
            "-9223372036854775808",
            "9223372036854775807",
            "nan",
            "inf",
            "-1",
            "\"\\x00\\xff\"",
            "\"\"",
        ]))
        .collect()
}

/// Whether a command would take as much memory, or as long, as one of its numbers says.
fn is_huge(args: Args<'_>) -> bool {
    let name = args.get(0).to_ascii_lowercase();
    let numbers = match &name[..] {
        b"setrange" => OFFSETS,
        b"hrandfield" | b"lolwut" => COUNTS,
        _ => return false,
    };
    let is_huge = |arg: &[u8]| {
        let number = std::str::from_utf8(arg).ok().and_then(|text| text.parse::<i64>().ok());
        number.is_some_and(|number| numbers.contains(&number.unsigned_abs()))
    };
    args.iter().any(is_huge)
}

fn users() -> [User; 3] {
    [
        "on nopass ~a* %R~h &ch +@all -@dangerous",
        "on +@read +set|a ~{a}* (%W~b +@write db=0)",
        "on allkeys +select|0 +config|get",
    ]
    .map(|rules| User::new(table()).with_rules(rules.split(' ').map(str::as_bytes)).expect("these are rules"))
}

/// What is asked of a request before it runs: routing, COMMAND GETKEYS and rights.
fn look(args: Args<'_>) {
    thread_local! {
        static USERS: RefCell<[User; 3]> = RefCell::new(users());
    }
    let Some(spec) = table().of_request(args) else { return };
    if !spec.takes(args.len()) {
        return;
    }
    let count = spec.keys(args).count();
    assert!(count <= args.len(), "{} has {count} keys in {} arguments", spec.name, args.len());
    assert!(spec.keys_to_check(args).all(|(at, _)| at < args.len()), "{}: a key is no argument", spec.name);
    let _ = spec.route(args);
    USERS.with_borrow(|users| {
        let allowed = users.iter().filter(|user| user.check(spec, args).is_ok()).count();
        assert!(allowed == 0 || User::all(table()).check(spec, args).is_ok());
    });
}

fn run(input: &[u8]) -> bool {
    let (mut rest, mut spans, mut ran) = (input, ArgSpans::new(), 0);
    with_engines(|[primary, replica, _]| {
        let mut left = COMMANDS_MAX;
        while let Ok(Parsed::Complete { consumed }) = request::parse(rest, &mut spans, &Limits::DEFAULT) {
            if left == 0 {
                break;
            }
            left -= 1;
            let args = spans.args(rest);
            if !args.is_empty() && !is_huge(args) {
                look(args);
                let mut effects = EffectBuf::new();
                let protocol = if input.len() & 1 == 0 { Protocol::Resp2 } else { Protocol::Resp3 };
                let reply = run_args(primary, args, protocol, &mut effects);
                let is_data = table().look_up(args).is_ok_and(|spec| matches!(spec.run, Run::Data(_)));
                if is_data {
                    let read = value::parse(&reply).unwrap_or_else(|error| panic!("{args:?} replies {error}"));
                    let length = read.as_ref().map(|(_, length)| *length);
                    assert_eq!(length, Some(reply.len()), "{args:?} has one reply");
                    ran += u32::from(!matches!(read, Some((value::Value::Error(_), _))));
                }
                let applied = replica.apply(NOW, &effects.take().to_vec());
                applied.unwrap_or_else(|error| panic!("the effects of {args:?}: {error}"));
            }
            rest = &rest[consumed..];
        }
        // The replica has nothing but the effects.
        assert_eq!(replica.digest(), primary.digest(), "a replica has the same data");
        assert_eq!(replica.keyspace_stats(), primary.keyspace_stats());
    });
    ran > 0
}
