# Runs in the guest: makes hosts with RDMA devices, runs each stage, prints a table. Exit status: how many stages failed.
#   inside.sh BUILD_FOLDER [STAGE…]
build=$1
shift
tests=/project/tests/vm
export ASHLAR_TEST_RDMA_ADDRESS=10.0.0.1
ulimit -l unlimited
cd /tmp

one_device() {
  ip link add d0 type dummy && ip addr add 10.0.0.1/24 dev d0 && ip link set d0 mtu 4500 up && rdma link add rxe0 type rxe netdev d0
}

stage_conformance() {
  "$build/tests/fabric_test" --gtest_filter='*verbs*:Verbs*' --gtest_brief=1
}

stages=${*:-conformance}
failed=0
table=
one_device || exit 99
for stage in $stages; do
  echo "== $stage"
  before=$(cut -d' ' -f1 /proc/uptime)
  if "stage_$stage" > "/tmp/$stage.log" 2>&1; then result=passed; else result=FAILED; failed=$((failed + 1)); fi
  after=$(cut -d' ' -f1 /proc/uptime)
  grep -vE 'RDMA device opened|gtest_main' "/tmp/$stage.log"
  table+=$(printf '%-14s %-8s %6.1f s' "$stage" $result "$(echo "$before $after" | awk '{print $2 - $1}')")$'\n'
done
echo
echo "$table"
rdma resource show 2> /dev/null
exit $failed
