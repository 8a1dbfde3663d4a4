#!/bin/sh
# Debian's way to settings: edit, then generate. Mail is queued and goes nowhere.
set -eu
sed -i "s/^dc_eximconfig_configtype=.*/dc_eximconfig_configtype='internet'/; s/^dc_other_hostnames=.*/dc_other_hostnames='shop.example'/; s/^dc_local_interfaces=.*/dc_local_interfaces='0.0.0.0'/; s/^dc_relay_nets=.*/dc_relay_nets='0.0.0.0\/0'/" /etc/exim4/update-exim4.conf.conf
update-exim4.conf
exec "$@"
