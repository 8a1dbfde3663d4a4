#!/bin/sh
set -eu
ssh-keygen -A >/dev/null
if ! id "$LOGIN" >/dev/null 2>&1; then
  useradd --create-home --shell /bin/sh "$LOGIN"
  echo "$LOGIN:$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')" | chpasswd
fi
home=/home/$LOGIN
install -d -o "$LOGIN" -g "$LOGIN" -m 700 "$home/.ssh"
[ -e "$home/.ssh/id_ed25519" ] || ssh-keygen -q -t ed25519 -N '' -f "$home/.ssh/id_ed25519"
cp "$home/.ssh/id_ed25519.pub" "$home/.ssh/authorized_keys"
chown -R "$LOGIN:" "$home/.ssh"
sed -i 's/^#\?PasswordAuthentication .*/PasswordAuthentication no/' /etc/ssh/sshd_config
mkdir -p /run/sshd
exec "$@"
