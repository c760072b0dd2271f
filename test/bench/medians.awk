# Medians of measured pairs.  Reads lines of: x, measurement, unit, heap, verity, pgcrypto (tabs between; - where not
# measured).  Prints for each x and measurement, in their order: x, measurement, unit, pairs, and then median, lowest and
# highest of heap, verity, pgcrypto, of the pairs' ratios verity : heap and pgcrypto : heap.
BEGIN {FS = OFS = "\t"}

!/^#/ {
	key = $1 FS $2 FS $3
	if (!(key in pairs)) order[++groups] = key
	i = ++pairs[key]
	value[key, 1, i] = $4
	value[key, 2, i] = $5
	value[key, 3, i] = $6
	value[key, 4, i] = ratio($5, $4)
	value[key, 5, i] = ratio($6, $4)
}

END {for (g = 1; g <= groups; g++) print order[g], pairs[order[g]], all(order[g])}

function ratio(a, b) {return a == "-" || b == "-" || b + 0 == 0 ? "-" : a / b}

function all(key,    column, line) {
	for (column = 1; column <= 5; column++) line = line (column > 1 ? OFS : "") of(key, column)
	return line
}

# Median, lowest and highest of one column.
function of(key, column,    n, i, j, v, sorted) {
	n = pairs[key]
	for (i = 1; i <= n; i++) {
		v = value[key, column, i]
		if (v == "-") return "-" OFS "-" OFS "-"
		for (j = i - 1; j > 0 && sorted[j] + 0 > v + 0; j--) sorted[j + 1] = sorted[j]
		sorted[j + 1] = v
	}
	v = n % 2 ? sorted[(n + 1) / 2] : (sorted[n / 2] + sorted[n / 2 + 1]) / 2
	return v OFS sorted[1] OFS sorted[n]
}
