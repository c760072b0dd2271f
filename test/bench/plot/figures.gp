# The main table: a line for each measurement.
stats blocks using 2 nooutput
n = STATS_records
set terminal svg size 960, 28 * n + 150 font font . ',12' background rgb 'white'
set output output_file
set title "Rates as a share of heap's: medians, with the lowest and the highest" font ',15'
set yrange [n - 0.4:-0.6]
set xrange [0:2.05]
set xtics 0.2
unset grid
set grid x lc rgb '#dddddd' lw 1 lt 1
set xlabel "share of heap's rate (of what stands behind the colon, where there is one)"
set ytics scale 0
set lmargin 40
set bmargin 7
set key at screen 0.5, screen 0.01 center bottom horizontal samplen 1.5 width 2
set arrow 1 from 1, graph 0 to 1, graph 1 nohead lc rgb '#888888' dt (3, 3) back
plot blocks using 2:0:3:4:ytic(1) with xerrorbars pt 7 ps 0.8 lc rgb verity_colour lw 1.8 title 'verity', \
	'' using 5:0:6:7 with xerrorbars pt 9 ps 0.9 lc rgb pgcrypto_colour lw 1.6 title 'pgcrypto and hash chain', \
	'' using 8:($0 - 0.35):(0):(0.7) with vectors nohead lc rgb '#000000' lw 2.5 title 'at least', \
	'' using 9:0 with points pt 4 ps 0.9 lc rgb '#555555' lw 1.5 title 'aim'
