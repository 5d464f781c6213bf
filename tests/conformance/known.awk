# Compares failed tests with those that are expected to fail: `awk -f known.awk known.tsv units.tsv failed.tsv` prints a
# line `new<TAB>unit<TAB>test<TAB>error` for each failure that no row of known.tsv covers, and
# `passes<TAB>unit<TAB>test` for each row of a unit in units.tsv that covers no failure.

# Whether a name matches a pattern, in which `*` stands for any text.
function matches(name, pattern,    parts, count, part, at) {
    count = split(pattern, parts, "*")
    if (count == 1) return name == pattern
    if (substr(name, 1, length(parts[1])) != parts[1]) return 0
    name = substr(name, length(parts[1]) + 1)
    for (part = 2; part < count; part++) {
        at = index(name, parts[part])
        if (parts[part] != "" && at == 0) return 0
        if (parts[part] != "") name = substr(name, at + length(parts[part]))
    }
    return length(name) >= length(parts[count]) && substr(name, length(name) - length(parts[count]) + 1) == parts[count]
}

BEGIN { FS = "\t" }
FNR == 1 { input++ }
/^#/ && input == 1 { next }
input == 1 {
    rows++
    unit_of[rows] = $1
    pattern_of[rows] = $2
    next
}
input == 2 { ran[$1] = 1; next }
{
    found = 0
    for (row = 1; row <= rows; row++)
        if (unit_of[row] == $1 && matches($2, pattern_of[row])) {
            found = 1
            covers[row]++
        }
    if (!found) print "new\t" $1 "\t" $2 "\t" $3
}
END {
    for (row = 1; row <= rows; row++)
        if (!(row in covers) && (unit_of[row] in ran)) print "passes\t" unit_of[row] "\t" pattern_of[row]
}
