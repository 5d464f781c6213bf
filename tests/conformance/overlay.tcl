# Runs Valkey's test suite without stopping at a failure: loads tests/test_helper.tcl of the checkout in the working
# directory, with some of its procedures replaced. No file of the checkout is changed. run.sh starts it with the
# arguments of test_helper.tcl.
#
# - A unit's file, its start_server blocks and its tags blocks are evaluated command by command. An error between two
#   tests skips the rest of that command, not of the file. It is reported as a line `[outside]: …`.
# - A CONFIG SET of a start_server block that the server refuses is reported in the same way, and the block runs.
# - After a failed test the client gets a new connection, because replies may be left on the old one, with the protocol
#   that it spoke before, and the options that the test changed get their old values.
# - If CONFORMANCE_REPLY_SECONDS is set, a reply that takes longer is an error, so that a test whose reply never comes
#   fails and the tests after it run.
#
# It knows the suite of Valkey 8.0.1, and stops with a message if a place that it changes is missing.

namespace eval conformance {}

# Reports what happened outside of any test.
proc conformance::report {message} {
    set line [string map {"\n" " | "} [string range $message 0 600]]
    catch {send_data_packet $::test_server_fd outside $line}
}

# Splits a script into its complete commands. A line goes on if it ends in an odd number of backslashes.
proc conformance::commands {script} {
    set commands {}
    set command ""
    foreach line [split $script "\n"] {
        append command $line
        set backslashes [expr {[string length $line] - [string length [string trimright $line "\\"]]}]
        if {$backslashes % 2 == 0 && [info complete "$command\n"]} {
            if {[string trim $command] ne ""} { lappend commands $command }
            set command ""
        } else {
            append command "\n"
        }
    }
    if {[string trim $command] ne ""} { lappend commands $command }
    return $commands
}

# The number of the innermost server's client; -1 if there is none.
proc conformance::client_id {} {
    if {![llength $::servers]} { return -1 }
    set client [dict get [lindex $::servers end] client]
    if {![regexp {valkeyHandle(\d+)$} $client -> id] || ![info exists ::valkey::fd($id)]} { return -1 }
    return $id
}

# Whether a client speaks RESP3.
proc conformance::speaks_resp3 {id} {
    return [expr {[info exists ::valkey::testing_resp3($id)] && $::valkey::testing_resp3($id)}]
}

# Connects the client of the innermost server again, under the same handle.
proc conformance::reconnect {resp3} {
    set id [client_id]
    if {$id < 0} return
    set client [dict get [lindex $::servers end] client]
    catch {close $::valkey::fd($id)}
    lassign $::valkey::addr($id) host port
    if {[catch {
        set fd [socket $host $port]
        fconfigure $fd -translation binary
        set ::valkey::fd($id) $fd
        set ::valkey::blocking($id) 1
        set ::valkey::deferred($id) 0
        set ::valkey::readraw($id) 0
        ::valkey::valkey_reset_state $id
        set ::valkey::testing_resp3($id) 0
        if {$resp3} { $client hello 3 }
    } error]} {
        set ::valkey::fd($id) {}
        report "reconnect: $error"
    }
}

# Forgets the servers that were opened after the first `count`, and closes their clients.
proc conformance::leave_servers {count} {
    while {[llength $::servers] > $count} {
        catch {[dict get [lindex $::servers end] client] close}
        set ::servers [lrange $::servers 0 end-1]
    }
}

# Runs a script command by command, `level` frames above the caller. `place` is for the report of an error.
proc conformance::run {level script place} {
    incr level
    foreach command [commands $script] {
        set tags $::tags
        set servers [llength $::servers]
        set resp3 [speaks_resp3 [client_id]]
        set code [catch {uplevel $level $command} result options]
        if {$code == 1} {
            set ::tags $tags
            leave_servers $servers
            report "$place: $result (at: [string range [string trim $command] 0 100])"
            catch {reconnect $resp3}
            # A node that restarts needs a moment.
            if {[string match "*connection refused*" $result]} { after 200 }
        } elseif {$code != 0} {
            return -options $options $result
        }
    }
    return ""
}

# Like the suite's own, which ends the block at the first error.
proc conformance::run_external_server_test {code overrides} {
    set client [valkey $::host $::port 0 $::tls]
    set server [dict create host $::host port $::port client $client config [dict create port $::port]]
    lappend ::servers $server
    if {[catch {r flushall} error]} { conformance::report "FLUSHALL: $error" }
    if {[catch {r function flush} error]} { conformance::report "FUNCTION FLUSH: $error" }
    set saved {}
    foreach {option value} $overrides {
        if {[catch {
            set old [lindex [r config get $option] 1]
            r config set $option $value
            dict set saved $option $old
        } error]} { conformance::report "CONFIG SET $option $value: $error" }
    }
    set code_of_block [catch {conformance::run 2 $code "start_server"} result options]
    dict for {option value} $saved {
        if {[catch {r config set $option $value} error]} { conformance::report "CONFIG SET $option $value: $error" }
    }
    conformance::leave_servers [expr {[llength $::servers] - 1}]
    if {$code_of_block} { return -options $options $result }
}

# Like the suite's own, which ends the block at the first error.
proc conformance::tags {tags code} {
    set saved $::tags
    set ::tags [concat $::tags [string map { \" "" } $tags]]
    if {![tags_acceptable $::tags error]} {
        incr ::num_aborted
        send_data_packet $::test_server_fd ignore $error
        set ::tags $saved
        return
    }
    set code_of_block [catch {conformance::run 1 $code "tags"} result options]
    set ::tags $saved
    if {$code_of_block} { return -options $options $result }
}

# All options of the server with their values, on a connection of its own; nothing if the server does not answer.
proc conformance::options {} {
    set options {}
    catch {
        set client [valkey $::host $::port 0 $::tls]
        catch {set options [$client config get *]}
        $client close
    }
    return $options
}

# Sets options back that differ from `before`.
proc conformance::restore_options {before} {
    set after [options]
    dict for {option value} $before {
        if {$value ne "*****" && [dict exists $after $option] && [dict get $after $option] ne $value} {
            if {[catch {r config set $option $value} error]} { report "CONFIG SET $option $value: $error" }
        }
    }
}

# The suite's own test; if it failed, what it left behind is removed.
proc conformance::test {args} {
    set before [conformance::options]
    set failed $::num_failed
    set servers [llength $::servers]
    set tags $::tags
    set resp3 [conformance::speaks_resp3 [conformance::client_id]]
    set code [catch {uplevel 1 [list conformance::suite_test {*}$args]} result options]
    if {$::num_failed > $failed} {
        set ::tags $tags
        conformance::leave_servers $servers
        catch {conformance::reconnect $resp3}
        catch {conformance::restore_options $before}
    }
    if {$code} { return -options $options $result }
    return $result
}

# Waits until a connection is readable; an error after the limit.
proc conformance::wait_readable {fd} {
    set seconds $::env(CONFORMANCE_REPLY_SECONDS)
    set ::conformance::readable 0
    set timer [after [expr {$seconds * 1000}] {set ::conformance::readable late}]
    fileevent $fd readable {set ::conformance::readable yes}
    vwait ::conformance::readable
    after cancel $timer
    catch {fileevent $fd readable {}}
    if {$::conformance::readable eq "late"} {
        catch {fconfigure $fd -blocking 1}
        error "no reply within $seconds s"
    }
}

# The client's two reads, with a limit.
proc conformance::gets_limited {fd} {
    if {![fconfigure $fd -blocking]} { return [gets $fd] }
    fconfigure $fd -blocking 0
    while {[catch {gets $fd line} length] == 0 && $length < 0 && ![eof $fd]} { conformance::wait_readable $fd }
    fconfigure $fd -blocking 1
    if {![string is integer -strict $length]} {
        if {[string match "*connection abort*" $length]} { return {} }
        error $length
    }
    if {$length < 0} { return {} }
    return $line
}
proc conformance::read_limited {fd length} {
    if {$length == -1} { return [read $fd] }
    if {![fconfigure $fd -blocking]} { return [read $fd $length] }
    fconfigure $fd -blocking 0
    set bytes ""
    while {[string length $bytes] < $length} {
        append bytes [read $fd [expr {$length - [string length $bytes]}]]
        if {[string length $bytes] >= $length || [eof $fd]} break
        conformance::wait_readable $fd
    }
    fconfigure $fd -blocking 1
    return $bytes
}

# Puts the procedures above in the place of the suite's, once these are loaded.
proc conformance::replace {} {
    rename ::test ::conformance::suite_test
    rename ::conformance::test ::test
    foreach name {run_external_server_test tags} {
        rename ::$name {}
        rename ::conformance::$name ::$name
    }
    if {[info exists ::env(CONFORMANCE_REPLY_SECONDS)]} {
        foreach {name limited} {valkey_safe_gets gets_limited valkey_safe_read read_limited} {
            rename ::valkey::$name {}
            rename ::conformance::$limited ::valkey::$name
        }
    }
}

# Puts `new` in the place of `old` in a text.
proc conformance::substitute {text old new} {
    if {[string first $old $text] < 0} {
        puts "tests/test_helper.tcl is not that of Valkey 8.0.1: it has no \"[string trim $old]\""
        exit 3
    }
    return [string map [list $old $new] $text]
}

set file [open tests/test_helper.tcl]
set helper [read $file]
close $file
set helper [conformance::substitute $helper "source tests/support/util.tcl\n" \
    "source tests/support/util.tcl\nconformance::replace\n"]
set helper [conformance::substitute $helper "    source \$path\n" \
    "    set file \[open \$path\]\n    set unit \[read \$file\]\n    close \$file\n    info script \$path
    conformance::run 0 \$unit unit\n"]
eval $helper
