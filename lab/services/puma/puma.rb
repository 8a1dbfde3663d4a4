workers 2
threads 1, 2
bind "tcp://0.0.0.0:9292"
pidfile "tmp/pids/puma.pid"
state_path "tmp/pids/puma.state"
activate_control_app "unix://tmp/pids/pumactl.sock"
stdout_redirect "log/puma.stdout.log", "log/puma.stderr.log", true
