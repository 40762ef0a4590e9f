// One configuration for all stages: STAGE chooses, test unless it is set.
local env = std.native('env');
local must_env = std.native('must_env');

local upstreams = import 'upstreams.libsonnet';
local stage = env('STAGE', 'test');

{
  upstreams: [
    upstreams.cluster('primary', ['rabbit-%d.%s:5672' % [number, stage] for number in std.range(1, 3)]) {
      health_check+: {
        username: env('HEALTH_USER', 'health'),
        password: must_env('HEALTH_PASSWORD'),
      },
    },
    upstreams.single('analytics', 'analytics.%s:5672' % stage) {
      required: false,
      routing: { key_patterns: ['analytics.#'] },
    },
  ],
  graceful_shutdown: { shutdown_timeout: if stage == 'test' then '1s' else '30s' },
}
