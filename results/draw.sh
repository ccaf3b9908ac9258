#!/usr/bin/env bash
# Draws the pictures of the result pages from the .csv files and printed benchmarks that lie beside them,
# with awk and gnuplot, so that a table that is made anew brings its picture along:
#   results/draw.sh            draws all
#   results/draw.sh tandem     draws those of one folder
# curve.svg and trials.svg of results/weights are made by `tandem plot`, not here.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
command -v gnuplot >/dev/null || { echo "draw.sh: gnuplot is missing (Debian: gnuplot-nox)" >&2; exit 1; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# Columns of a CSV file by their heads: pick FILE HEAD..., tab-separated, "?" where a cell is empty. A field in
# double quotes may hold commas.
pick() {
  local file=$1
  shift
  awk -v heads="$(printf '%s\t' "$@")" '
    function take(line,   n, i, c, inside, field) {
      n = 0; field = ""; inside = 0
      for (i = 1; i <= length(line); ++i) {
        c = substr(line, i, 1)
        if (c == "\"") inside = !inside
        else if (c == "," && !inside) { cell[++n] = field; field = "" }
        else field = field c
      }
      cell[++n] = field
      return n
    }
    BEGIN { wanted = split(heads, head, "\t") - 1 }
    NR == 1 { n = take($0)
      for (i = 1; i <= wanted; ++i) {
        at[i] = 0
        for (j = 1; j <= n; ++j) if (cell[j] == head[i]) { at[i] = j; break }
        if (!at[i]) { print "draw.sh: " FILENAME " has no column " head[i] > "/dev/stderr"; exit 1 }
      }
      next }
    { take($0); line = ""
      for (i = 1; i <= wanted; ++i) line = line (i > 1 ? "\t" : "") (cell[at[i]] == "" ? "?" : cell[at[i]])
      print line }' "$file"
}

# draw FILE WIDTH HEIGHT: the gnuplot commands come from standard input.
draw() {
  {
    echo "set terminal svg size $2,$3 enhanced font 'Helvetica,13' background 'white'"
    echo "set output '$tmp/figure.svg'"
    echo "set datafile separator '\t'"
    echo "set datafile missing '?'"
    echo "set style fill solid 0.75 noborder"
    echo "set grid ytics lc '#dddddd' lt 1"
    echo "set tics nomirror"
    echo "set border 3"
    cat
  } >"$tmp/figure.gp"
  gnuplot "$tmp/figure.gp"
  [ -s "$tmp/figure.svg" ] || { echo "draw.sh: gnuplot drew no $1" >&2; exit 1; }
  mv "$tmp/figure.svg" "$1"
  echo "results/$1"
}

tandem() {
  pick tandem/pilot_mechanism.csv attention weights "kept mass (attention)" \
    "kept mass (attention) ci95_half" | awk -F'\t' '$2 == "dense"' >"$tmp/mass"
  pick tandem/pilot_results.csv attention weights full "full ci95_half" "sparse attention" \
    "sparse attention ci95_half" | awk -F'\t' '$2 == "dense"' >"$tmp/bits"
  draw tandem/attention.svg 860 380 <<E
set multiplot layout 1,2
set xtics scale 0
set xrange [-0.6:3.6]
set yrange [0:1.05]
set title "attention mass on the chosen blocks"
plot '$tmp/mass' using 0:3:(0.6):xtic(1) with boxes lc '#4878a8' notitle, '' using 0:3:4 with yerrorbars lc 'black' pt 0 notitle
set yrange [*:*]
set offsets 0,0,0.01,0.02
set title "bits per byte (lower is better)"
set key bottom right
plot '$tmp/bits' using (\$0-0.08):3:4:xtic(1) with yerrorbars lc '#4878a8' pt 7 title 'full attention', '' using (\$0+0.08):5:6 with yerrorbars lc '#c8502d' pt 5 title 'sparse attention'
unset multiplot
E
}

attention() {
  local columns=(attention attention_entropy_penalty match) i=0 plots="" method budget
  local budgets=("half the blocks" sparse "twice the blocks" "four times the blocks" full)
  pick attention/paradox_mechanism.csv "${columns[@]}" "kept mass" "kept mass ci95_half" |
    awk -F'\t' -v OFS='\t' '$3 == "steps" { print ($2 > 0 ? "penalty" : $1), $4, $5 }' >"$tmp/mass"
  for budget in "${budgets[@]}"; do
    pick attention/paradox_loss.csv "${columns[@]}" "$budget" "$budget ci95_half" |
      awk -F'\t' -v OFS='\t' -v i=$i '$3 == "steps" && $2 == 0 { print $1, i, $4, $5 }'
    i=$((i + 1))
  done >"$tmp/bits"
  i=0
  local colors=('#4878a8' '#c8502d' '#888888' '#3a8a50') points=(7 5 9 13)
  for method in full moba alternate ssa; do
    awk -F'\t' -v m=$method '$1 == m && $2 > 0' "$tmp/bits" >"$tmp/bits.$method"
    plots+="${plots:+, }'$tmp/bits.$method' using (\$2+0.06*($i-1.5)):3:4 with yerrorlines lc '${colors[$i]}' pt ${points[$i]} ps 0.8 title '$method'"
    i=$((i + 1))
  done
  draw attention/paradox.svg 900 380 <<E
set multiplot layout 1,2
set xtics scale 0
set xrange [-0.6:4.6]
set yrange [0:1.05]
set title "attention mass on the chosen blocks"
plot '$tmp/mass' using 0:2:(0.6):xtic(1) with boxes lc '#4878a8' notitle, '' using 0:2:3 with yerrorbars lc 'black' pt 0 notitle
set xrange [0.7:4.3]
set yrange [*:*]
set offsets 0,0,0.005,0.002
set title "bits per byte by budget (lower is better)"
set xtics ("trained" 1, "twice" 2, "four times" 3, "all keys" 4)
set key top right
plot $plots
unset multiplot
E
  i=0 plots=""
  colors+=('#8a5aa8') points+=(11)
  for method in full moba alternate ssa nsa; do
    pick attention/mqar_rates.csv attention lr score least most |
      awk -F'\t' -v OFS='\t' -v m=$method '$1 == m { print $2, 100 * $3, 100 * $4, 100 * $5 }' | sort -g >"$tmp/rates.$method"
    plots+="${plots:+, }'$tmp/rates.$method' using (\$1*(1+0.05*($i-2))):2:3:4 with yerrorlines lc '${colors[$i]}' pt ${points[$i]} ps 0.8 title '$method'"
    i=$((i + 1))
  done
  draw attention/mqar_rates.svg 760 380 <<E
set logscale x
set xrange [0.0001:0.02]
set yrange [0:105]
set xtics ('1/8' 0.000125, '1/4' 0.00025, '1/2' 0.0005, '1' 0.001, '2' 0.002, '4' 0.004, '8' 0.008, '16' 0.016)
set xlabel 'learning rate (thousandths)'
set ylabel 'queries answered (%), validation'
set key outside right
plot $plots
E
  # Each point is a length, a block size and a number of blocks; below stands the share that is read.
  local panel='' names=("sparse-only training" SSA) tokens size color point shift
  i=0
  for method in moba ssa; do
    plots=""
    for size in 8 16 32; do
      for tokens in 128 256 512; do
        pick attention/map.csv context block_size blocks attention "less that of full attention" \
          "less that of full attention ci95_half" |
          awk -F'\t' -v OFS='\t' -v m=$method -v t=$tokens -v b=$size \
            '$4 == m && $1 == t && $2 == b { print 100 * $2 * $3 / $1, $5, $6 }' | sort -g >"$tmp/map.$method.$tokens.$size"
        [ -s "$tmp/map.$method.$tokens.$size" ] || continue
        case $tokens in 128) color='#4878a8' shift=-14 ;; 256) color='#3a8a50' shift=-4 ;; *) color='#c8502d' shift=8 ;; esac
        case $size in 8) point=7 ;; 16) point=5 shift=$((shift + 4)) ;; *) point=9 shift=$((shift + 8)) ;; esac
        plots+="${plots:+, }'$tmp/map.$method.$tokens.$size' using (\$1*(1+0.01*($shift))):2:3 with yerrorlines lc '$color' pt $point ps 1.1 title '$tokens tokens, blocks of $size'"
      done
    done
    panel+="set title '${names[$i]} less full attention'
plot $plots
set key bottom right font ',11'
"
    i=$((i + 1))
  done
  draw attention/map.svg 1000 420 <<E
set multiplot layout 1,2
set logscale x 2
set xrange [2.4:18]
set xtics ('1/32' 3.125, '1/16' 6.25, '1/8' 12.5)
set xlabel 'share of the window that a query reads'
set ylabel 'difference of the mass on the chosen blocks'
set xzeroaxis lc 'black'
unset key
set yrange [-0.25:0.25]
$panel
unset multiplot
E
}

blind_spot() {
  local columns=(contrast difference "difference ci95_half" "difference holm")
  pick blind_spot/decision.csv "${columns[@]}" |
    awk -F'\t' -v OFS='\t' '!/paradox/ { gsub("_", " ", $1); print $1, 100 * $2, 100 * $3, $4 }' >"$tmp/first"
  pick blind_spot/again_decision.csv "${columns[@]}" |
    awk -F'\t' -v OFS='\t' '{ gsub("_", " ", $1); print "again: " $1, 100 * $2, 100 * $3, $4 }' >"$tmp/again"
  cat "$tmp/first" "$tmp/again" | awk -F'\t' -v OFS='\t' '{ print -NR, $0 }' >"$tmp/all"
  awk -F'\t' '$5 == "true"' "$tmp/all" >"$tmp/survives"
  awk -F'\t' '$5 != "true"' "$tmp/all" >"$tmp/not"
  draw blind_spot/decision.svg 860 440 <<E
unset grid
set grid xtics lc '#dddddd' lt 1
set title "differences in the sparse read-out, points of accuracy, 95% interval"
set arrow from 0, graph 0 to 0, graph 1 nohead lc 'black'
set ytics scale 0
set yrange [-$(wc -l <"$tmp/all").7:-0.3]
set key bottom left
plot '$tmp/survives' using 3:1:4:ytic(2) with xerrorbars lc '#4878a8' pt 7 ps 0.8 title 'survives Holm', '$tmp/not' using 3:1:4:ytic(2) with xerrorbars lc '#c8502d' pt 6 ps 0.8 title 'does not'
E
}

weights() {
  pick weights/flops.csv density match weights sparse "sparse ci95_half" >"$tmp/flops"
  local density match
  for density in 0.1 0.02; do
    for match in steps train_flops; do
      awk -F'\t' -v OFS='\t' -v d=$density -v m=$match '$1 == d && $2 == m { print $3, 100 * $4, 100 * $5 }' \
        "$tmp/flops" >"$tmp/$density.$match"
    done
  done
  draw weights/flops.svg 860 380 <<E
set multiplot layout 1,2
set xtics scale 0
set xrange [-0.6:5.6]
set yrange [85:90.5]
set ylabel 'test accuracy, sparse (%)'
set key bottom right
do for [density in "0.1 0.02"] {
set title 'density '.density
plot '$tmp/'.density.'.steps' using (\$0-0.1):2:3:xtic(1) with yerrorbars lc '#c8502d' pt 5 ps 0.8 title 'equal steps', '$tmp/'.density.'.train_flops' using (\$0+0.1):2:3 with yerrorbars lc '#4878a8' pt 7 ps 0.8 title 'equal operations'
}
unset multiplot
E
}

sparse_speed() {
  pick sparse_speed/results.csv weights density train_seconds full "full ci95_half" sparse "sparse ci95_half" >"$tmp/speed"
  local method
  for method in set rigl; do
    awk -F'\t' -v OFS='\t' -v m=$method '$1 == m { print $3, 100 * $6, 100 * $7, 100 * (1 - $2) "%" }' "$tmp/speed" >"$tmp/$method"
  done
  awk -F'\t' -v OFS='\t' '$1 == "dense" { print $3, 100 * $4, 100 * $5 }' "$tmp/speed" >"$tmp/dense"
  draw sparse_speed/results.svg 760 400 <<E
set logscale x
set xrange [1.3:90]
set yrange [68:91]
set xlabel 'seconds of training, ten epochs, one core'
set ylabel 'test accuracy (%)'
set key bottom right
plot '$tmp/rigl' using 1:2:3 with yerrorlines lc '#4878a8' pt 7 title 'RigL', '$tmp/set' using 1:2:3 with yerrorlines lc '#c8502d' pt 5 title 'SET', '' using 1:(\$2-1.2):4 with labels left offset 0.5,0 font ',11' notitle, '$tmp/dense' using 1:2:3 with yerrorbars lc 'black' pt 9 title 'dense, full read-out'
E
}

golden_set() {
  pick golden_set/results.csv weights density budget sparse "sparse ci95_half" >"$tmp/golden"
  local budget
  for budget in uniform er; do
    awk -F'\t' -v OFS='\t' -v b=$budget '$1 == "set" && $3 == b { print 100 * (1 - $2), 100 * $4, 100 * $5 }' "$tmp/golden" >"$tmp/$budget"
  done
  # The published numbers stand in the page's own table.
  awk -F'|' -v OFS='\t' '
    /SET 90%/ { for (i = 4; i <= NF; ++i) if (match($i, /[0-9]+%/)) at[i] = substr($i, RSTART, RLENGTH - 1) }
    /^\| published/ { for (i in at) { gsub(" ", "", $i); print at[i], $i } }' golden_set/README.md | sort -n >"$tmp/published"
  draw golden_set/results.svg 700 380 <<E
set xlabel 'sparsity (%)'
set ylabel 'test accuracy (%)'
set xrange [89.5:99.5]
set yrange [83:99.5]
set key bottom left
plot '$tmp/published' using 1:2 with points lc 'black' pt 2 title 'published, no spread', '$tmp/uniform' using 1:2:3 with yerrorbars lc '#4878a8' pt 7 ps 0.7 title 'every layer at the same density', '$tmp/er' using 1:2:3 with yerrorbars lc '#c8502d' pt 5 ps 0.7 title 'ER'
E
}

# Three panels, since the links of the chain are told in three units.
continual() {
  pick continual/density_l0_decision.csv contrast difference "difference ci95_half" "difference holm" |
    sed 's/_/ /' >"$tmp/links"
  local panel
  for panel in "H1|H2" H3 "H4|H5"; do
    grep -E "^($panel)" "$tmp/links" | awk -F'\t' -v OFS='\t' '{ print -NR, $0 }' >"$tmp/link.${panel:0:2}"
  done
  draw continual/decision.svg 900 400 <<E
unset grid
set grid xtics lc '#dddddd' lt 1
set multiplot layout 1,3
set ytics scale 0
set arrow from 0, graph 0 to 0, graph 1 nohead lc 'black'
set offsets 0,0,0.6,0.6
set xtics 0.1
set xrange [-0.05:0.5]
set title "H1, H2: share of living units active" font ',12'
plot '$tmp/link.H1' using 3:1:4:ytic(2) with xerrorbars lc '#4878a8' pt 7 ps 0.8 notitle
set xtics 0.05
set xrange [-0.16:0.08]
set title "H3: overlap of tasks" font ',12'
plot '$tmp/link.H3' using 3:1:4:ytic(2) with xerrorbars lc '#4878a8' pt 7 ps 0.8 notitle
set xtics 5
set xrange [-19:8]
set title "H4, H5: forgetting (points)" font ',12'
plot '$tmp/link.H4' using (100*\$3):1:(100*\$4):ytic(2) with xerrorbars lc '#4878a8' pt 7 ps 0.8 notitle
unset multiplot
E
  pick continual/density_l0_matched_rates.csv weights activation init_scale "learning accuracy" \
    "forgetting" "forgetting ci95_half" >"$tmp/rates"
  local arms=("dense relu dense" "small_dense relu dense" "static relu density" "set relu density" "rigl relu dense"
    "alternate relu dense" "ssa relu dense" "dense k_winners dense") plots="" name i=0
  for name in "${arms[@]}"; do
    awk -F'\t' -v n="$name" '$1 " " $2 " " $3 == n { print 100 * $4 "\t" 100 * $5 "\t" 100 * $6 }' "$tmp/rates" >"$tmp/rates.$i"
    set -- $name
    plots+="${plots:+, }'$tmp/rates.$i' using 1:2 with linespoints pt $((i + 4)) lw 1.5 title '$1${2/relu/}'"
    plots=${plots/densek_winners/dense, k-winners}
    plots=${plots/small_dense/small dense}
    i=$((i + 1))
  done
  draw continual/density_l0_matched.svg 760 420 <<E
set xlabel 'accuracy on a task just learned (%)'
set ylabel 'forgetting (points)'
set xrange [97:99.25]
set yrange [0:30]
set arrow from 98.5, graph 0 to 98.5, graph 1 nohead dt 2 lc 'black'
set key outside right
plot $plots
E
}

bench() {
  awk -v OFS='\t' '$1 == "mlp" || $1 == "bytes" {
      tf32 = ($3 == "tf32"); r = $(3 + tf32)
      if (r ~ /^[0-9]+$/) print $1 " " $2 (tf32 ? " tf32" : ""), r, $NF }' bench/engine_gpu.txt >"$tmp/engine"
  local names=("mlp dense" "mlp rigl" "mlp ssa" "mlp rigl tf32" "bytes full" "bytes ssa") plots="" name i=0
  for name in "${names[@]}"; do
    awk -F'\t' -v n="$name" '$1 == n { print $2 "\t" $3 }' "$tmp/engine" >"$tmp/engine.$i"
    plots+="${plots:+, }'$tmp/engine.$i' using 1:2 with linespoints pt $((i + 4)) lw 1.5 title '$name'"
    i=$((i + 1))
  done
  draw bench/engine_gpu.svg 760 400 <<E
set logscale x 2
set logscale y 10
set xlabel 'replicas in the group'
set ylabel 'times a plain loop, per run'
set key outside right
plot $plots
E
}

parts=("$@")
[ $# -gt 0 ] || parts=(tandem attention blind_spot weights sparse_speed golden_set continual bench)
for part in "${parts[@]}"; do "$part"; done
