# hosts COUNT: that many "hosts" in one guest: RDMA device rxe$i on h$i with address 10.8.0.$i, joined by bridge br0. Soft RoCE
# knows no network namespaces, so all are in one, and rules force what goes from one host to another onto the wire.
# Cut a host off: ip link set b$i down. Never h$i: its connections do not come up again.
hosts() {
  local i conf=/proc/sys/net/ipv4/conf
  echo 1 > $conf/all/accept_local
  echo 0 > $conf/all/rp_filter
  echo 0 > $conf/default/rp_filter
  echo 1 > $conf/all/arp_ignore
  echo 2 > $conf/all/arp_announce
  ip link add br0 type bridge
  ip link set br0 arp off up  # else it answers ARP itself, and the first seconds of packets are lost
  ip rule add pref 200 lookup local
  ip rule del pref 0
  for i in $(seq "$1"); do
    ip link add "h$i" type veth peer name "b$i"
    ip link set "b$i" mtu 4500 arp off master br0 up
    ip addr add "10.8.0.$i/32" dev "h$i"
    ip link set "h$i" mtu 4500 up
    ip route add 10.8.0.0/24 dev "h$i" src "10.8.0.$i" table $((100 + i))
    ip rule add pref 10 from "10.8.0.$i" to "10.8.0.$i" lookup local
    ip rule add pref 11 iif lo from "10.8.0.$i" to 10.8.0.0/24 lookup $((100 + i))     # what goes out
    ip rule add pref 12 iif "h$i" from "10.8.0.$i" to 10.8.0.0/24 lookup $((100 + i))  # the check of the way back
    ip rule add pref 13 oif "h$i" to 10.8.0.0/24 lookup $((100 + i))                   # rdma_cm's own look-up
    rdma link add "rxe$i" type rxe netdev "h$i" || return 1
  done
}
