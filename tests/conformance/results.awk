# Reads what one pass of the suite over one unit has printed. Writes a line `result<TAB>test<TAB>text` for each test to
# the file `tests`: result is ok, failed, or outside for what happened outside of any test (which has no name); text is
# the first line of the error. Prints three numbers: tests that passed, tests that failed, and 1 if the pass ended
# before the unit did.

function write_failure() {
    if (name != "") print "failed\t" name "\t" text >> tests
    name = ""
}

{ gsub(/\033\[[0-9;]*m/, ""); gsub(/\t/, " ") }
# The name of a failed test is followed by lines of its error.
name != "" && text == "" && !/^\[/ { text = substr($0, 1, 300); next }
/^\[/ { write_failure() }
/^\[ok\]: / {
    passed++
    sub(/^\[ok\]: /, "")
    sub(/ \([0-9]+ ms\)$/, "")
    print "ok\t" $0 "\t" >> tests
}
/^\[err\]: / {
    failed++
    sub(/^\[err\]: /, "")
    sub(/ in tests\/[^ ]*\.tcl$/, "")
    name = $0
    text = ""
}
/^\[outside\]: / {
    sub(/^\[outside\]: /, "")
    print "outside\t\t" $0 >> tests
}
/^\[exception\]: / {
    sub(/^\[exception\]: /, "")
    print "outside\t\tthe suite has stopped: " $0 >> tests
}
# The state of a stalled pass names the test.
/\(IN PROGRESS\) / {
    sub(/.*\(IN PROGRESS\) /, "")
    print "outside\t\tno reply in: " $0 >> tests
}
/^\[[0-9]+\/[0-9]+ done\]: / { done = 1 }
END {
    write_failure()
    print passed + 0, failed + 0, done ? 0 : 1
}
