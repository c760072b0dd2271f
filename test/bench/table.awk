# The table of make bench: reads aims.tsv, then what medians.awk prints, and prints a line for each measurement.
BEGIN {
	FS = "\t"
	line = "%-46s %10s %10s %9s  %-7s %6s  %-13s %9s %6s %6s  %s\n"
	if (head) printf line, "measurement", "heap", "verity", "pgcrypto", "unit", "ratio", "low - high", "its ratio", "least", "aim", ""
}

FILENAME != "-" {if ($1 !~ /^#/) {patterns[++aims] = $1; least[aims] = $2; aim[aims] = $3}; next}

{
	l = a = ""
	for (i = 1; i <= aims; i++) if ($2 ~ patterns[i]) {l = least[i]; a = aim[i]}
	r = hundredths($14)
	spread = $14 == "-" || $4 == 1 ? "" : hundredths($15) " - " hundredths($16)
	if ($3 == "MB") {r = sprintf("%+.1f", $8 - $5); spread = ""}
	printf line, $2, number($5), number($8), number($11), $3, r, spread, hundredths($17), l, a, short() ? "below" : ""
}

# Is it less than what is asked at least?  Asked is a ratio, or at most so much of a ratio, of milliseconds, of MB over heap's.
function short(    limit) {
	if (l == "") return 0
	limit = l
	gsub(/[^0-9.]/, "", limit)
	if ($3 == "ms") return $8 + 0 >= limit + 0
	if ($3 == "MB") return $8 - $5 >= limit + 0
	return l ~ /^</ ? $14 + 0 > limit + 0 : $14 + 0 < limit + 0
}
function hundredths(v) {return v == "-" ? "" : sprintf("%.2f", v)}
function number(v) {return v == "-" ? "" : $3 == "MB" ? sprintf("%.1f", v) : v < 10 ? sprintf("%.3f", v) : v < 100 ? sprintf("%.1f", v) : sprintf("%.0f", v)}
