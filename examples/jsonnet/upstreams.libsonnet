// What all our upstreams have in common.
{
  single(name, address):: {
    name: name,
    address: address,
    timeout: '2s',
  },

  cluster(name, nodes):: {
    name: name,
    cluster: { nodes: nodes },
    timeout: '2s',
    health_check: { interval: '10s', unhealthy_threshold: 2 },
  },
}
