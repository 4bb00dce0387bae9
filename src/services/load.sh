
# Exports the variables of a file by the rules for EnvironmentFile= in systemd.exec(5). The states
# are those of systemd's own parser (env-file.c).
v2d_newline='
'
v2d_return=$(printf '\r')
v2d_tab=$(printf '\t')
v2d_assign() {
  while :; do
    case $v2d_key in *[" $v2d_tab"]) v2d_key=${v2d_key%?} ;; *) break ;; esac
  done
  case $v2d_key in [0-9]* | *[!A-Za-z0-9_]*) ;; *) export "$v2d_key=$v2d_value" ;; esac
  v2d_state=start v2d_value='' v2d_blanks=''
}
v2d_next() {
  case $v2d_state:$1 in
    start:["#;"]) v2d_state=comment ;;
    start:[" $v2d_tab$v2d_newline$v2d_return"]) ;;
    start:*) v2d_state=key v2d_key=$1 v2d_value='' v2d_blanks='' ;;
    key:["$v2d_newline$v2d_return"]) v2d_state=start ;;
    key:=) v2d_state=before ;;
    key:*) v2d_key=$v2d_key$1 ;;
    before:["$v2d_newline$v2d_return"] | value:["$v2d_newline$v2d_return"]) v2d_assign ;;
    before:\') v2d_state=single ;;
    before:\") v2d_state=double ;;
    before:\\ | value:\\) v2d_state=escape v2d_value=$v2d_value$v2d_blanks v2d_blanks='' ;;
    before:[" $v2d_tab"]) ;;
    value:[" $v2d_tab"]) v2d_blanks=$v2d_blanks$1 ;;
    before:* | value:*) v2d_state=value v2d_value=$v2d_value$v2d_blanks$1 v2d_blanks='' ;;
    escape:["$v2d_newline$v2d_return"]) v2d_state=value ;;
    escape:*) v2d_state=value v2d_value=$v2d_value$1 ;;
    single:\' | double:\") v2d_state=before ;;
    double:\\) v2d_state=double-escape ;;
    double-escape:"$v2d_newline") v2d_state=double ;;
    double-escape:[\"\\\`\$]) v2d_state=double v2d_value=$v2d_value$1 ;;
    double-escape:*) v2d_state=double v2d_value=$v2d_value\\$1 ;;
    single:* | double:*) v2d_value=$v2d_value$1 ;;
    comment:\\) v2d_state=comment-escape ;;
    comment:["$v2d_newline$v2d_return"]) v2d_state=start ;;
    comment-escape:*) v2d_state=comment ;;
  esac
}
load() {
  v2d_state=start v2d_more=yes
  while [ -n "$v2d_more" ]; do
    v2d_line=''
    if IFS= read -r v2d_line; then v2d_line=$v2d_line$v2d_newline; else v2d_more=''; fi
    while [ -n "$v2d_line" ]; do
      v2d_rest=${v2d_line#?}
      v2d_next "${v2d_line%"$v2d_rest"}"
      v2d_line=$v2d_rest
    done
  done <"$1"
  case $v2d_state in before | value | escape | single | double | double-escape) v2d_assign ;; esac
}
