// The main of the tests that have none of their own.
#include "gmock/gmock.h"
#include "tests/support/run_tests.h"

int main(int argc, char** argv) {
  testing::InitGoogleMock(&argc, argv);
  return ashlar::RunTests();
}
