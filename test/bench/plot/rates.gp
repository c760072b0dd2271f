# A panel for each measurement: what heap, verity and pgcrypto reach, medians, with the lowest and the highest.
load names
columns = 3
rows = int(ceil(n / real(columns)))
height = 235 * rows + 50
set terminal svg size 1080, height font font . ',12' background rgb 'white'
set output output_file
set multiplot layout rows, columns title heading . ': medians, with the lowest and the highest' font ',15' \
	margins 0.065, 0.985, 55.0 / height, 1 - 75.0 / height spacing 0.075, 95.0 / height
set logscale x
set format x '%.0s%c'
if (exists('powers')) { set logscale x 2; set format x '%g' }
set xlabel axis offset 0, 0.5
set offsets graph 0.02, graph 0.03, 0, 0
array side[3] = ['heap', 'verity', 'pgcrypto and hash chain']
array colour[3] = [heap_colour, verity_colour, pgcrypto_colour]
array point[3] = [7, 5, 9]
do for [i = 1:n] {
	what = unit[i] eq 'tps' ? 'transactions/s' : unit[i]
	other = strstrt(name[i], ' : ')
	side[1] = other ? name[i][other + 3:*] . ' alone' : 'heap'
	colour[1] = other ? other_colour : heap_colour
	labelled = i == 1 || other || third[i]
	set title (other ? name[i][1:other - 1] : name[i]) offset 0, -0.4
	scale = 1
	if (exists('logarithmic')) {
		set logscale y
		set format y '%.0s%c'
		set ylabel what offset 1.2, 0
		set key bottom left
	} else {
		if (top[i] > 2e6) { scale = 1e6; what = 'million ' . what }
		if (scale == 1 && top[i] > 2e3) { scale = 1e3; what = 'thousand ' . what }
		set format y '%g'
		set ylabel what offset 0.8, 0
		# room for the key above the lines
		set yrange [0:top[i] / scale * (labelled ? 1.25 + 0.12 * third[i] : 1.08)]
		set key top left
	}
	if (labelled) { set key on reverse Left samplen 2.5 font ',11' maxrows (exists('logarithmic') || third[i] ? 3 : 1) } else { set key off }
	plot for [k = 1:2 + third[i]] blocks index i - 1 \
		using 1:(column(2 + 3 * k) / scale):(column(3 + 3 * k) / scale):(column(4 + 3 * k) / scale) \
		with yerrorlines lc rgb colour[k] lw 1.8 pt point[k] ps 0.7 dt k title side[k]
}
unset multiplot
