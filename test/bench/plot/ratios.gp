# Ratios verity : heap of one sweep, work over whole tables on the left and single operations on the right.
has_rows = system('test -e ' . directory . 'rows.gp && echo 1') eq '1'
has_tps = system('test -e ' . directory . 'tps.gp && echo 1') eq '1'
panels = has_rows + has_tps
set terminal svg size 1080, 450 font font . ',12' background rgb 'white'
set output output_file
set multiplot layout 1, panels title heading . ": verity's rate as a share of heap's" font ',15' margins 0.06, 0.985, 0.32, 0.83 spacing 0.08, 0
set logscale x
set format x '%.0s%c'
if (exists('powers')) { set logscale x 2; set format x '%g' }
set xlabel axis
set ylabel 'verity : heap' offset 1
set yrange [0:1.2<*<2.5]
set offsets graph 0.02, graph 0.02, 0, 0
set key at graph 0.5, graph -0.3 center top vertical maxrows 3 reverse Left samplen 2 font ',11'
set arrow 1 from graph 0, first 1 to graph 1, first 1 nohead lc rgb '#888888' lw 1 dt (3, 3) back
do for [what in (has_rows ? 'rows ' : '') . (has_tps ? 'tps' : '')] {
	load directory . what . '.gp'
	set title (what eq 'rows' ? 'work over the whole table' : 'single operations')
	plot for [i = 1:n] directory . what . '.dat' index i - 1 using 1:14:15:16 with yerrorlines lc rgb colours[i] lw 1.6 pt points[i] ps 0.7 title name[i]
}
unset multiplot
