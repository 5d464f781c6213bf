use super::payload::{self, LibrariesPayloadError};
use super::spec::{self, StoredFunction};
use crate::testing::Bench;
use fastness_types::{FormatLevel, Seq};

/// FUNCTION DUMP of a Valkey server, compressed.
const DUMPED: &[u8] =
    b"\xf5\xc3@\x9d@\xd4\x1f#!lua name=l1\nredis.register_fun\nction(\"f\", \xe0\x00\r\x11k,a) return 5 end)\
      \xe0\x0f8\x00{\xc03\x00_`a\x01\"g F\x08callback=\xc0\x1b\xe0\x04O\x80\x81@#\x0b(\"get\",k[1])@d \x80\x1a\
      lags={\"no-writes\"}, descrip@\xa6\x01=\"@\x0c\x01\"}P\x00\xc3\xed\xba\xff\xf3\xcfn\x07";
const CODE: &str = "#!lua name=l1\nredis.register_function(\"f\", function(k,a) return 5 end)\n\
     redis.register_function{function_name=\"g\", callback=function(k,a) return redis.call(\"get\",k[1]) end, \
     flags={\"no-writes\"}, description=\"desc\"}";

impl Bench {
    fn set_library(&mut self, name: &[u8], code: &[u8]) {
        self.engine.set_library(name, (code, &b"\x00"[..]), &mut self.effects, self.now);
    }

    fn names(&self) -> Vec<String> {
        self.engine.libraries().iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
    }
}

#[test]
fn effects_make_the_same_libraries_elsewhere() {
    let mut bench = Bench::new();
    bench.run(&[b"SET", b"k", b"v"]);
    bench.set_library(b"one", b"1");
    bench.set_library(b"two", b"2");
    bench.set_library(b"one", b"3");
    bench.engine.delete_library(b"two", &mut bench.effects, bench.now);
    assert_eq!(bench.effects.unit_level(), FormatLevel::FUNCTIONS);
    assert!(!bench.effects.touches_all(), "keys are not concerned");
    assert_eq!(bench.effects.touched().iter().filter(|hash| **hash == super::effect::LIBRARIES_HASH).count(), 4);
    let mut bytes = Vec::new();
    bench.effects.encoded().copy(0..bench.effects.len(), &mut bytes);
    let mut other = Bench::new();
    other.engine.apply(bench.now, &bytes).unwrap();
    assert_eq!(other.names(), ["one"]);
    assert_eq!(&*other.engine.libraries().get(b"one").unwrap().code, b"3");
    assert_eq!(other.engine.digest(), bench.engine.digest());
}

#[test]
fn the_digest_and_the_account_count_them_and_flushall_leaves_them() {
    let mut bench = Bench::new();
    let (empty, bytes) = (bench.engine.digest(), bench.engine.memory_of_data());
    bench.set_library(b"one", &[b'x'; 1000]);
    let one = bench.engine.digest();
    assert_ne!(one, empty);
    assert!(bench.engine.memory_of_data() >= bytes + 1000);
    bench.run(&[b"SET", b"k", b"v"]);
    bench.run(&[b"FLUSHALL"]);
    assert_eq!(bench.engine.digest(), one);
    bench.engine.flush_libraries(&mut bench.effects, bench.now);
    assert_eq!(bench.engine.digest(), empty);
    let length = bench.effects.len();
    bench.engine.flush_libraries(&mut bench.effects, bench.now);
    assert_eq!(bench.effects.len(), length, "there is nothing to flush");
}

#[test]
fn changes_are_undone() {
    let mut bench = Bench::new();
    bench.set_library(b"one", b"1");
    bench.engine.keep_undo(1 << 20);
    let (committed, bytes) = (bench.engine.digest(), bench.engine.memory_of_data());
    bench.set_library(b"one", b"longer");
    bench.engine.end_unit(Seq(1));
    bench.set_library(b"two", b"2");
    bench.engine.delete_library(b"one", &mut bench.effects, bench.now);
    bench.engine.flush_libraries(&mut bench.effects, bench.now);
    bench.engine.end_unit(Seq(2));
    assert!(bench.names().is_empty());
    assert!(bench.engine.undo());
    assert_eq!((bench.engine.digest(), bench.engine.memory_of_data()), (committed, bytes));
}

/// A commit keeps the records of a unit that has not ended: a script that is suspended.
#[test]
fn a_unit_in_progress_is_rolled_back_after_a_commit() {
    let mut bench = Bench::new();
    bench.engine.keep_undo(1 << 20);
    bench.run(&[b"SET", b"a", b"1"]);
    bench.engine.end_unit(Seq(1));
    let committed = bench.engine.digest();
    let savepoint = bench.engine.begin_unit(&mut bench.effects, usize::MAX);
    bench.run(&[b"SET", b"a", b"2"]);
    bench.run(&[b"SET", b"b", b"2"]);
    bench.set_library(b"one", b"1");
    bench.engine.forget_undo(Seq(1));
    bench.engine.roll_back(savepoint, &mut bench.effects);
    assert_eq!(bench.engine.digest(), committed);
    // What follows belongs to a batch of its own.
    bench.run(&[b"SET", b"a", b"3"]);
    bench.engine.end_unit(Seq(2));
    assert!(bench.engine.undo());
    assert_eq!(bench.engine.digest(), committed);
}

#[test]
fn an_image_has_the_libraries_of_its_point() {
    let mut bench = Bench::new();
    for i in 0..500 {
        bench.run(&[b"SET", format!("key{i}").as_bytes(), &[b'v'; 50]]);
    }
    bench.set_library(b"one", &[b'1'; 5_000]);
    bench.set_library(b"two", b"2");
    let digest = bench.engine.digest();
    let (sum, restored) = bench.imaged(400, |bench| {
        bench.set_library(b"two", b"changed");
        bench.engine.delete_library(b"one", &mut bench.effects, bench.now);
    });
    assert_eq!((sum.keys, sum.digest), (500, digest));
    assert_eq!(restored.engine.digest(), digest);
    assert_eq!(restored.names(), ["one", "two"]);
}

#[test]
fn golden_bytes_of_a_record() {
    let mut bench = Bench::new();
    bench.set_library(b"lib", b"x");
    bench.engine.begin_image(usize::MAX);
    let mut image = Vec::new();
    while bench.engine.image_step(1_000, &mut image).unwrap().is_none() {}
    assert_eq!(image, b"\x03lib\x0f\x01x\x01\x00");
}

#[test]
fn they_survive_a_reload_and_not_a_restart() {
    let mut bench = Bench::new();
    bench.run(&[b"SET", b"k", b"v"]);
    bench.set_library(b"one", b"1");
    let digest = bench.engine.digest();
    assert_eq!(bench.engine.rebuild(), Ok(()));
    assert_eq!((bench.engine.digest(), bench.names()), (digest, vec!["one".to_owned()]));
    bench.engine.restart();
    while bench.engine.release_some() {}
    assert!(bench.names().is_empty());
    let mut without = Bench::new();
    without.run(&[b"SET", b"k", b"v"]);
    assert_eq!(without.engine.rebuild(), Ok(()));
    without.engine.restart();
    while without.engine.release_some() {}
    assert_eq!(bench.engine.memory_of_data(), without.engine.memory_of_data());
}

#[test]
fn payloads_are_valkeys() {
    assert_eq!(payload::read(DUMPED).unwrap(), [CODE.as_bytes()]);
    let mut bench = Bench::new();
    assert_eq!(payload::dump(bench.engine.libraries()), b"P\x00\x92\xb1\x95\xd1\x91-\xc5.");
    bench.set_library(b"l1", CODE.as_bytes());
    bench.set_library(b"l2", b"other");
    let dumped = payload::dump(bench.engine.libraries());
    assert_eq!(payload::read(&dumped).unwrap(), [CODE.as_bytes(), b"other"]);
    assert_eq!(payload::read(&dumped[..dumped.len() - 1]), Err(LibrariesPayloadError::Footer));
    let of_text = bench.run(&[b"SET", b"k", b"v"]);
    assert_eq!(of_text, b"+OK\r\n");
    let text = crate::string::dump::dump_text(b"v");
    assert_eq!(payload::read(&text), Err(LibrariesPayloadError::NotLibraries));
}

#[test]
fn functions_are_read_as_they_were_written() {
    let functions = vec![
        StoredFunction { name: b"f".to_vec(), description: None, flags: spec::NO_WRITES | spec::ALLOW_CROSS_SLOT_KEYS },
        StoredFunction { name: b"g".to_vec(), description: Some(Vec::new()), flags: 0 },
        StoredFunction { name: b"h".to_vec(), description: Some(b"what it does".to_vec()), flags: u64::MAX },
    ];
    let bytes = spec::encode(&functions);
    assert_eq!(bytes[..6], [3, 1, b'f', 0, 17, 1], "the format is frozen");
    assert_eq!(spec::decode(&bytes), Some(functions));
    for end in 0..bytes.len() {
        assert_eq!(spec::decode(&bytes[..end]), None, "{end}");
    }
}
