#!/bin/sh
set -eu
postconf -e "myhostname=$MAIL_NAME" "mydestination=\$myhostname, localhost" "maillog_file=/var/log/postfix.log" "inet_protocols=ipv4" "mynetworks=0.0.0.0/0"
grep -q '^sales:' /etc/aliases || echo 'sales: root' >>/etc/aliases
newaliases
exec "$@"
