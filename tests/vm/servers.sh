# shellcheck shell=bash
# TLS servers on this machine for the scripts that deliver something to them; sourced after lib.sh, with `work` set.
# shellcheck disable=SC2154 # `work` is set by who sources this

# authority NAME / certificate NAME ALTERNATIVE-NAME AUTHORITY BEGIN END (YYYYMMDDHHMMSSZ)
authority() { openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/$1.key" -out "$work/$1.crt" -days 30 -subj "/CN=$1" 2>/dev/null; }
certificate() {
  openssl req -newkey rsa:2048 -nodes -keyout "$work/$1.key" -out "$work/$1.csr" -subj "/CN=$1" 2>/dev/null
  mkdir -p "$work/$3.ca"
  : >"$work/$3.ca/index.txt"
  printf '[ca]\ndefault_ca=c\n[c]\ndatabase=%s\nnew_certs_dir=%s\nrand_serial=yes\ndefault_md=sha256\npolicy=p\n[p]\nCN=supplied\n[x]\nsubjectAltName=%s\n' \
    "$work/$3.ca/index.txt" "$work/$3.ca" "$2" >"$work/$3.cnf"
  openssl ca -batch -notext -config "$work/$3.cnf" -extensions x -in "$work/$1.csr" -out "$work/$1.crt" -cert "$work/$3.crt" \
    -keyfile "$work/$3.key" -startdate "$4" -enddate "$5" 2>/dev/null
}

day() { date -u -d "$1" +%Y%m%d%H%M%SZ; }

# site CERTIFICATE PORT [PROTOCOLS]: a server block that lets who knows the password put things below $work/www.
site() {
  printf 'server { listen 127.0.0.1:%s ssl; server_name localhost; ssl_certificate %s.crt; ssl_certificate_key %s.key; ssl_protocols %s; root %s/www;
    client_max_body_size 0; location / { auth_basic x; auth_basic_user_file %s/users; dav_methods PUT; create_full_put_path on; client_body_temp_path %s/www/.t; } }\n' \
    "$2" "$work/$1" "$work/$1" "${3:-TLSv1.2 TLSv1.3}" "$work" "$work" "$work"
}

await() {
  local _
  for _ in {1..80}; do
    curl -s -o /dev/null --max-time 5 --cacert "$work/ours.crt" "$@" && return 0
    sleep 0.25
  done
  fail "no answer from ${*: -1}"
}
