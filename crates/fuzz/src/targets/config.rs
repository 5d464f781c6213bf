//! Config files, and values of CONFIG SET.

use fastness_server::config::{Config, ConfigError, OPTIONS};

use super::input::{inputs, words};
use crate::Target;

pub(super) const CONFIG_FILE: Target = Target {
    name: "config-file",
    what: "config files: the values that CONFIG GET returns, written to a file, are read as the same configuration, and \
           errors name a line that exists",
    bytes_max: 300,
    share: 3,
    seeds: || {
        inputs(&[
            b"# a comment\n\n  PORT 7000\nbind 127.0.0.1 ::1\nmaxmemory 1gb\nrequirepass \"a b\\\"c\"\ntimeout 30\n",
            b"durability async\ndurability-max-lag 1500ms\nclient-output-buffer-limit normal 1mb 0 0\nsave \"\"\nappendonly no\n",
            b"tls-cert-file '/a b/c'\ntls-auth-clients-user CN\nmaxmemory-clients 10%\nloglevel verbose\nnode-id 3\nlab yes\n",
            b"requirepass \"\\x00\\xff\\n\"\r\navailability-zone a\\b\n*1\n|1\n",
        ])
    },
    words: option_words,
    memory: |length| (4 << 20) + 16_384 * length,
    run: file,
};

pub(super) const CONFIG_VALUE: Target = Target {
    name: "config-value",
    what: "values of CONFIG SET: what an option takes is what CONFIG GET returns, in a form that it takes again",
    bytes_max: 64,
    share: 3,
    seeds: || {
        let defaults = OPTIONS.iter().enumerate();
        let seed = |(at, option): (usize, &fastness_server::config::OptionSpec)| {
            [&[at as u8][..], option.default.trim_matches('"').as_bytes()].concat()
        };
        let mut seeds: Vec<Vec<u8>> = defaults.map(seed).collect();
        for option in 0..OPTIONS.len() as u8 {
            seeds.extend(
                ["10mb", "1500ms", "yes", "7000", "normal 1 2 3", "50%"]
                    .map(|value| [&[option][..], value.as_bytes()].concat()),
            );
        }
        seeds
    },
    words: || {
        words(&["gb", "kb", "ms", "h", "%", "normal 0 0 0 pubsub 1 2 3", "-1", "+1", " ", "0x1", "inf", "\u{212a}"])
    },
    memory: |length| (1 << 20) + 16_384 * length,
    run: value,
};

fn option_words() -> Vec<Vec<u8>> {
    let names = OPTIONS.iter().map(|option| format!("\n{} ", option.name).into_bytes());
    names
        .chain(words(&["yes", "no", "1gb", "100ms", "\"", "'", "\\x41", "10%", "normal 1 2 3", "::1", "\r\n"]))
        .collect()
}

/// A value as it stands in a file.
fn quoted(value: &str) -> String {
    let mut quoted = String::from('"');
    for byte in value.bytes() {
        match byte {
            b' '..=b'~' if byte != b'"' && byte != b'\\' => quoted.push(char::from(byte)),
            _ => quoted.push_str(&format!("\\x{byte:02x}")),
        }
    }
    quoted.push('"');
    quoted
}

fn file(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let mut config = match Config::parse(&text) {
        Ok(config) => config,
        Err(error) => {
            let lines = text.lines().count();
            let (ConfigError::Quotes { line }
            | ConfigError::Unknown { line, .. }
            | ConfigError::User { line, .. }
            | ConfigError::Value { line, .. }) = error
            else {
                panic!("a file alone is {error}");
            };
            assert!((1..=lines).contains(&line), "line {line} of {lines}");
            return false;
        }
    };
    let _ = config.check();
    let options = OPTIONS.iter().map(|option| format!("{} {}\n", option.name, quoted(&option.get(&config))));
    let users = config.users.iter().map(|user| {
        let rules: String = user.rules.iter().map(|rule| format!(" {}", quoted(rule))).collect();
        format!("user {}{rules}\n", quoted(&user.name))
    });
    let written: String = options.chain(users).collect();
    for (line, user) in (OPTIONS.len() + 1..).zip(&mut config.users) {
        user.line = line;
    }
    let again = Config::parse(&written).unwrap_or_else(|error| panic!("{error} in what was written:\n{written}"));
    assert_eq!(again, config, "a configuration is read as it was written");
    config != Config::default()
}

fn value(input: &[u8]) -> bool {
    let Some((option, value)) = input.split_first() else { return false };
    let Ok(value) = std::str::from_utf8(value) else { return false };
    let option = &OPTIONS[usize::from(*option) % OPTIONS.len()];
    let (mut config, before) = (Config::default(), Config::default());
    if option.set(&mut config, &[value]).is_err() {
        assert_eq!(config, before, "{}: a value that is refused changes something", option.name);
        return false;
    }
    let mut again = Config::default();
    let got = option.get(&config);
    option.set(&mut again, &[&got]).unwrap_or_else(|problem| panic!("{} returns {got:?}: {problem}", option.name));
    assert_eq!(again, config, "{}: {got:?} is read as it was returned", option.name);
    true
}
