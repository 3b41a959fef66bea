module codex-temporal/cluster/pause

go 1.26
