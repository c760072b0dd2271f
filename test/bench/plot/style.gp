# Colours that the colour-blind tell apart (Okabe and Ito's), each with a point and a dash of its own, on white paper.
heap_colour = '#0072B2'
verity_colour = '#D55E00'
pgcrypto_colour = '#009E73'
other_colour = '#767676'
array colours[8] = ['#D55E00', '#0072B2', '#009E73', '#CC79A7', '#000000', '#E69F00', '#56B4E9', '#767676']
array points[8] = [7, 5, 9, 13, 11, 6, 4, 8]
font = 'Helvetica,Arial,DejaVu Sans,sans-serif'

set datafile separator "\t"
set datafile missing '-'
set encoding utf8
set border 3 lc rgb '#444444'
set tics nomirror out scale 0.6 textcolor rgb '#222222'
set grid y lc rgb '#dddddd' lw 1 lt 1
