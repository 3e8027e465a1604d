"""Inside the process or pod: agent, worker, rendezvous."""
