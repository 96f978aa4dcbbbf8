/** Hidden flag of `controller` and `server`, for children of `up`: end when stdin does. */
export const untilStdinEndsFlag = '--until-stdin-ends'
