# Reads what one pass of the suite over one unit has printed. Writes a line `result<TAB>test<TAB>text` for each test to
# the file `tests`: result is ok, failed, or outside for what happened outside of any test (which has no name); text is
# the first line of the error. Prints three numbers: tests that passed, tests that failed, and 1 if the pass ended
# before the unit did.

function write_failure() {
    if (name != "") print "failed\t" name "\t" substr(text, 1, 300) >> tests
    name = ""
    text = ""
}

function is_end_of(text, line) {
    return substr(line, length(line) - length(text) + 1) == text
}

{ gsub(/\033\[[0-9;]*m/, ""); gsub(/\t/, " ") }
# The name of a failed test is followed by the first line of its error. The suite cuts ten characters from it, because
# a failed assertion begins with `assertion:`; of another error the whole text follows.
name != "" && text == "" && !/^\[/ { text = $0; next }
name != "" && !/^\[/ {
    if (is_end_of(text, $0)) text = $0
    write_failure()
    next
}
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
