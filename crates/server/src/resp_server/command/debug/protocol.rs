//! DEBUG PROTOCOL: a reply of each type, for tests of clients.

use fastness_resp::Protocol;
use fastness_shard::FrontEndOutcome;

use crate::resp_server::command::call::{Call, refuse};

/// Three members of an aggregate.
const MEMBERS: std::ops::Range<i64> = 0..3;

pub(super) fn protocol(call: &mut Call<'_, '_>) -> FrontEndOutcome {
    let name = call.args.get(2).to_ascii_lowercase();
    match name.as_slice() {
        b"string" => call.out.bulk("Hello World"),
        b"integer" => call.out.integer(12_345),
        b"double" => call.out.double_text("3.141"),
        b"bignum" => call.out.big_number("1234567999999999999999999999999999999"),
        b"null" => call.out.null(),
        b"array" => {
            call.out.array(3);
            MEMBERS.for_each(|member| call.out.integer(member));
        }
        b"set" => {
            call.out.set(3);
            MEMBERS.for_each(|member| call.out.integer(member));
        }
        b"map" => {
            call.out.map(3);
            for member in MEMBERS {
                call.out.integer(member);
                call.out.bool(member == 1);
            }
        }
        b"attrib" => attribute(call),
        b"push" => return push(call),
        b"true" => call.out.bool(true),
        b"false" => call.out.bool(false),
        b"verbatim" => call.out.verbatim(*b"txt", b"This is a verbatim\nstring"),
        _ => call.out.error(
            "ERR Wrong protocol type name. Please use one of the following: \
             string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
        ),
    }
    FrontEndOutcome::Reply
}

fn attribute(call: &mut Call<'_, '_>) {
    if call.out.attribute(1) {
        call.out.bulk("key-popularity");
        call.out.array(2);
        call.out.bulk("key:123");
        call.out.integer(90);
    }
    call.out.bulk("Some real reply following the attribute");
}

/// A push message answers nothing, so a reply follows. A call over gRPC would take the message for its reply.
fn push(call: &mut Call<'_, '_>) -> FrontEndOutcome {
    if call.client.protocol.get() == Protocol::Resp2 {
        return refuse(call.out, "ERR RESP2 is not supported by this command");
    }
    if call.client.fd < 0 {
        return refuse(call.out, "ERR DEBUG PROTOCOL push needs a connection of RESP");
    }
    call.out.push(2);
    call.out.bulk("server-cpu-usage");
    call.out.integer(42);
    call.out.bulk("Some real reply following the push reply");
    FrontEndOutcome::Reply
}
