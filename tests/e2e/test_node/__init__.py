"""A Kubernetes node for tests: it runs pods as local processes, the way a kubelet would.

There is no container engine. A container is a process in mount, PID and host name namespaces of its
own, over a private copy-on-write view of the host's file system (see ``sandbox``); an image is a set
of host directories (see ``images``). Every pod shares the host's network, on loopback.

What a kubelet does and this does not: pod networks and Services, cgroups and resource limits, exec
and attach, lifecycle hooks, ephemeral and sidecar containers, time stamps in logs, CSI.
"""
