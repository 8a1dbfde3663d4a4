#!/bin/sh
# Makes conf.d from the templates, lets the default site listen on IPv6, and puts settings into the page's script.
set -eu
for template in /etc/nginx/templates/*.template; do
  name=$(basename "$template" .template)
  envsubst '$UPSTREAM_HOST' <"$template" >"/etc/nginx/conf.d/$name"
done
if [ -e /proc/net/if_inet6 ] && ! grep -q '\[::\]' /etc/nginx/conf.d/default.conf; then
  sed -i 's/^    listen 80;/    listen 80;\n    listen [::]:80;/' /etc/nginx/conf.d/default.conf
fi
sed -i "s/__API__/${API_URL:-https:\/\/api.shop.example}/" /usr/share/nginx/html/assets/app.js
exec "$@"
