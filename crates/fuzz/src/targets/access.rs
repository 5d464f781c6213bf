//! Users: their rules, files with them, and certificates that name them.

use std::collections::BTreeMap;

use fastness_acl::User;
use fastness_engine::command::table;
use fastness_resp::Args;
use fastness_server::config::CertificateUser;
use fastness_server::settings::parse_acl_file;
use fastness_server::tls::{Identity, user_names};

use super::input::{inputs, none, words};
use crate::Target;

pub(super) const ACL_RULES: Target = Target {
    name: "acl-rules",
    what: "rules of ACL SETUSER: the canonical form is read as the same user, who may run the same requests",
    bytes_max: 256,
    share: 20,
    seeds: || {
        inputs(&[
            b"on\n>secret\n~a*\n%R~b\n+get\n-@all\n+@read\n-config|set",
            b"off\nnopass\nallkeys\nallchannels\n+@all\n-@dangerous\nresetkeys\n~x",
            b"(+get ~a)\n(%RW~b +@write db=0,1)\nclearselectors\n(+set\n~c\n&d)",
            b"#2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881\n<secret\nreset\nresetpass",
            b"+select|0\n+get|x\ndb=0,3\nresetdbs\nalldbs\nresetchannels\n&ch*",
            b"(~\"a b\" +get)\n(",
            b"()\n(   )\n~*\n~a\n%~a\n%RR~a\n%~*",
        ])
    },
    words: rule_words,
    memory: |length| (8 << 20) + 65_536 * length,
    run: rules,
};

pub(super) const ACL_STORED: Target = Target {
    name: "acl-stored",
    what: "stored users: a user that is read is written and read back as itself",
    bytes_max: 256,
    share: 20,
    seeds: || {
        inputs(&[
            b"on nopass ~* &* +@all",
            b"off resetchannels -@all",
            b"on #ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb ~a %R~b resetchannels &c db=0,3 -@all +get",
            b"off resetchannels resetdbs +@all -@dangerous +config|get +select|0",
            b"off ~a resetchannels -@all (~b resetchannels -@all +get) (~* &* +@all)",
            b"off ~* ~a resetchannels -@all",
            b"off resetchannels +@all -@nosuch +get -config|nosuch",
        ])
    },
    words: rule_words,
    memory: |length| (8 << 20) + 65_536 * length,
    run: stored,
};

pub(super) const ACL_FILE: Target = Target {
    name: "acl-file",
    what: "ACL files: users that are read are written, as ACL SAVE does, and read back as themselves",
    bytes_max: 300,
    share: 20,
    seeds: || {
        inputs(&[
            b"user default on nopass ~* &* +@all\nuser alice on #2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 ~a resetchannels -@all +get\n",
            b"# comment\n\n  user b off >x\r\nuser c\n",
            b"user a on\nuser a off\n",
            b"user d on (+get ~a) (~b -@all)\n",
        ])
    },
    words: || rule_words().into_iter().chain(words(&["user ", "\nuser x ", "#"])).collect(),
    memory: |length| (8 << 20) + 65_536 * length,
    run: file,
};

pub(super) const CERTIFICATE: Target = Target {
    name: "certificate",
    what: "certificates of nodes and clients: at most one identity, and names that are in the certificate",
    bytes_max: 900,
    share: 40,
    seeds: none_but_files,
    words: || words(&["fastness://", "/node/1", "/admin", "spiffe://user"]),
    memory: |length| (1 << 20) + 4096 * length,
    run: certificate,
};

/// The folder has certificates.
fn none_but_files() -> Vec<Vec<u8>> {
    none()
}

fn rule_words() -> Vec<Vec<u8>> {
    let rules = [
        "on",
        "off",
        "nopass",
        "resetpass",
        ">p",
        "<p",
        "reset",
        "allkeys",
        "~*",
        "resetkeys",
        "&*",
        "allchannels",
        "resetchannels",
        "alldbs",
        "resetdbs",
        "db=1",
        "+@all",
        "-@all",
        "+get",
        "-get",
        "+@read",
        "-@write",
        "+config|get",
        "-config|set",
        "+select|0",
        "~a",
        "%R~a",
        "%W~b",
        "%RW~*",
        "(",
        ")",
        "(+get ~a)",
        "clearselectors",
        "nocommands",
        "allcommands",
        " ",
        "\n",
        "\"",
        "'",
    ];
    words(&rules)
}

fn reread(user: &User) -> Vec<u8> {
    let text = user.rules();
    let again = User::from_stored(table(), &text)
        .unwrap_or_else(|error| panic!("{error} in what was written: {}", text.escape_ascii()));
    // Alone, `~*` is also how the pattern `*` is printed, as in Valkey.
    let is_ambiguous = text.windows(2).any(|pair| pair == b"~*");
    assert!(is_ambiguous || again == *user, "a user is read as it was written: {}", text.escape_ascii());
    assert_eq!(again.rules(), text);
    for request in
        [&["get", "a"][..], &["set", "b", "1"], &["select", "0"], &["config", "get", "x"], &["publish", "c", "m"]]
    {
        let request: Vec<&[u8]> = request.iter().map(|word| word.as_bytes()).collect();
        let args = Args::slices(&request);
        if let Some(spec) = table().of_request(args) {
            assert_eq!(again.check(spec, args), user.check(spec, args), "the same user, the same rights");
        }
    }
    text
}

fn rules(input: &[u8]) -> bool {
    let Ok(user) = User::new(table()).with_rules(input.split(|byte| *byte == b'\n')) else { return false };
    reread(&user);
    true
}

fn stored(input: &[u8]) -> bool {
    let Ok(user) = User::from_stored(table(), input) else { return false };
    reread(&user);
    true
}

fn file(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let Ok(users) = parse_acl_file(text) else { return false };
    // Valkey's files have the same two gaps. Beside other patterns, the pattern `*` is printed as `~*`, which is read
    // as all keys, and others must not follow it. A parenthesis at the end of a pattern is read as that of a selector.
    let is_ambiguous = |rules: &String| {
        let selectors = User::from_stored(table(), rules.as_bytes()).map_or(0, |user| user.selectors().len());
        rules.contains("~*") || ['(', ')'].iter().any(|sign| rules.matches(*sign).count() != selectors)
    };
    if users.values().any(is_ambiguous) {
        return true;
    }
    let lines: String = users.iter().map(|(name, rules)| format!("user {name} {rules}\n")).collect();
    let again = parse_acl_file(&lines).unwrap_or_else(|error| panic!("{error} in what was written: {lines:?}"));
    let compiled = |users: &BTreeMap<String, String>| -> Vec<(String, User)> {
        let user = |rules: &String| User::from_stored(table(), rules.as_bytes()).expect("rules that were stored");
        users.iter().map(|(name, rules)| (name.clone(), user(rules))).collect()
    };
    assert!(compiled(&again) == compiled(&users), "users are read as they were written: {lines:?}");
    !users.is_empty()
}

fn certificate(input: &[u8]) -> bool {
    let is_in =
        |name: &String| input.windows(name.len().max(1)).any(|bytes| bytes == name.as_bytes()) || name.is_empty();
    let names = user_names(input, CertificateUser::Uri);
    assert!(names.iter().all(is_in), "a URI that is not in the certificate: {names:?}");
    assert!(user_names(input, CertificateUser::Off).is_empty());
    let common = user_names(input, CertificateUser::CommonName);
    assert!(common.len() <= 1 && common.iter().all(is_in), "a name that is not in the certificate: {common:?}");
    if let Some(identity) = Identity::of(input) {
        let who = match identity {
            Identity::Node(cluster, node) => format!("fastness://{cluster}/node/{node}"),
            Identity::Admin(cluster) => format!("fastness://{cluster}/admin"),
        };
        assert!(names.iter().any(|name| name.starts_with("fastness://")), "{who} is in none of {names:?}");
    }
    !names.is_empty() || !common.is_empty()
}
